package probe

import (
	"errors"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// stepsPerCost makes the longest permitted match cost all that an assertion may.
const stepsPerCost = fastSteps / assertCost

// boundedMatches replaces CEL's function of that name: there, the cost is charged after the match, which nothing interrupts, and does not
// know of repetitions in the pattern.
func boundedMatches() []cel.EnvOption {
	match := cel.BinaryBinding(func(text, pattern ref.Val) ref.Val {
		found, err := matchValues(text, pattern)
		if err != nil {
			return types.WrapErr(err)
		}
		return types.Bool(found)
	})
	of := []*cel.Type{cel.StringType, cel.StringType}
	return []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(&env.LibrarySubset{ExcludeFunctions: []*env.Function{{Name: "matches"}}})),
		cel.Function("matches", cel.Overload("bounded_matches", of, cel.BoolType, match), cel.MemberOverload("bounded_string_matches", of, cel.BoolType, match)),
		cel.ASTValidators(cel.ValidateRegexLiterals()), cel.RegexProgramSizeLimit(check.MaxPatternSize),
	}
}

func matchValues(text, pattern ref.Val) (bool, error) {
	compiled, steps, err := matchSteps(text, pattern)
	if err != nil {
		return false, err
	}
	if steps > fastSteps {
		return false, errors.New("the pattern is too large for a text of this length")
	}
	value, _ := text.Value().(string) // CEL has checked the types
	return compiled.MatchString(value), nil
}

func matchSteps(text, pattern ref.Val) (*check.Pattern, int, error) {
	source, isPattern := pattern.Value().(string)
	value, isText := text.Value().(string)
	if !isPattern || !isText {
		return nil, 0, errors.New("matches is for two strings")
	}
	compiled, err := check.CompilePattern(source)
	if err != nil {
		return nil, 0, err
	}
	return compiled, compiled.Size * len(value), nil
}

// matchCost charges what a match took. The rest is charged as cel-go does.
type matchCost struct{}

// CallCost implements cost.ActualCostEstimator.
func (matchCost) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	if function != "matches" || len(args) != 2 {
		return nil
	}
	_, steps, err := matchSteps(args[0], args[1])
	cost := uint64(1)
	if err == nil {
		cost += uint64(max(0, steps)) / stepsPerCost
	}
	return &cost
}
