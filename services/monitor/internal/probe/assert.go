package probe

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Limits of an expression, which a tenant writes and a stranger's answer feeds.
const (
	assertCost      = 5_000_000 // of cel-go's units; a million are about a tenth of a second
	assertNodes     = 500
	assertBytes     = 4 << 10
	assertTime      = time.Second
	assertInterrupt = 100 // steps of a comprehension between two looks at the clock
)

// CheckAssertion says whether an expression can be used as an assertion. Its error is safe for whoever wrote it.
func CheckAssertion(expr string) error {
	_, err := compileAssertion(newEnv(), expr)
	return err
}

// newEnv declares what assertions see. A kind that does not have a value has its zero: certificate_days is -1 without a certificate.
func newEnv() *cel.Env {
	options := []cel.EnvOption{
		cel.Variable("status", cel.IntType),
		cel.Variable("headers", cel.MapType(cel.StringType, cel.StringType)), // lower-case name → first value
		cel.Variable("body", cel.StringType),
		cel.Variable("json", cel.DynType), // null if the body is not JSON
		cel.Variable("answers", cel.ListType(cel.StringType)),
		cel.Variable("ip", cel.StringType),
		cel.ExpressionNodeLimit(assertNodes), cel.ParserExpressionSizeLimit(assertBytes),
	}
	for _, name := range []string{
		"duration_ms", "resolve_ms", "connect_ms", "tls_ms", "processing_ms", "transfer_ms", "certificate_days", "loss_percent",
	} {
		options = append(options, cel.Variable(name, cel.IntType))
	}
	env, err := cel.NewCustomEnv(append(boundedMatches(), options...)...)
	if err != nil {
		panic(fmt.Sprintf("probe: environment of assertions: %v", err)) // the options are constants
	}
	return env
}

func compileAssertion(env *cel.Env, expr string) (cel.Program, error) {
	if len(expr) > assertBytes {
		return nil, fmt.Errorf("assert must have at most %d bytes", assertBytes)
	}
	ast, issues := env.Compile(expr)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("assert is not a CEL expression: %s", oneLine(err))
	}
	if !ast.OutputType().IsExactType(cel.BoolType) && !ast.OutputType().IsExactType(cel.DynType) {
		return nil, fmt.Errorf("assert must be true or false, not of type %s", ast.OutputType())
	}
	// Its cost bounds its memory too: what is made costs by its length. cel-go's own limit of memory refuses any JSON of some size.
	return env.Program(ast, cel.CostLimit(assertCost), cel.CostTracking(matchCost{}), cel.InterruptCheckFrequency(assertInterrupt))
}

// oneLine drops the picture that cel-go draws below its first line.
func oneLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimPrefix(line, "ERROR: <input>:")
}

// assert evaluates the assertion over what was seen.
func (m *plan) assert(ctx context.Context, l *look) error {
	if m.assertion == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, assertTime)
	defer cancel()
	value, _, err := m.assertion.ContextEval(limited, l.variables())
	failed := &unmet{cause: check.CauseAssertion, detail: "The assertion is false.", expected: l.job.Spec.Assert}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil: // it may be us who are slow
		return ownFault{"The assertion takes too long to evaluate.", err}
	case err != nil:
		failed.detail = "The assertion could not be evaluated on what came."
		failed.got = oneLine(err)
	case value == types.True:
		return nil
	default:
		failed.got = fmt.Sprint(value.Value())
	}
	return failed
}

func (l *look) variables() map[string]any {
	phases := l.clock.soFar()
	return map[string]any{
		"status": l.saw.status, "headers": firstValues(l.saw.header), "answers": l.saw.answers, "ip": l.saw.ip,
		"body":             func() any { return strings.ToValidUTF8(string(l.saw.body), "\uFFFD") },
		"json":             l.lazyJSON,
		"certificate_days": daysLeft(l.saw.certEnds, l.started), "loss_percent": l.saw.loss,
		"duration_ms": time.Since(l.started).Milliseconds(), "resolve_ms": phases.Resolve.Milliseconds(), "connect_ms": phases.Connect.Milliseconds(),
		"tls_ms": phases.TLS.Milliseconds(), "processing_ms": phases.Processing.Milliseconds(), "transfer_ms": phases.Transfer.Milliseconds(),
	}
}

// lazyJSON spares the parsing to assertions that do not look at it.
func (l *look) lazyJSON() any {
	value, err := l.json()
	if err != nil || value == nil {
		return types.NullValue
	}
	return value
}

func firstValues(header http.Header) map[string]string {
	first := make(map[string]string, len(header))
	for name, values := range header {
		if len(values) > 0 {
			first[strings.ToLower(name)] = values[0]
		}
	}
	return first
}

// daysLeft rounds down: 0 is less than a day, and what has ended is below 0 like what is not there.
func daysLeft(ends, now time.Time) int {
	if ends.IsZero() {
		return -1
	}
	return int(math.Floor(float64(ends.Sub(now)) / float64(day)))
}
