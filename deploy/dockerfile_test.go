package deploy_test

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// bases answers for a registry: any image is one of Linux.
type bases struct{}

func (bases) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, "", []byte(`{"os":"linux","architecture":"amd64"}`), nil
}

func dockerfile(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	return text
}

// findings are what BuildKit's own linter says, and why BuildKit would not build it.
func findings(t *testing.T, text []byte, architecture string) []string {
	t.Helper()
	result, err := dockerfile2llb.DockerfileLint(t.Context(), text, dockerfile2llb.ConvertOpt{
		Config:       dockerui.Config{BuildPlatforms: []ocispecs.Platform{{OS: "linux", Architecture: "amd64"}}},
		SourceMap:    &llb.SourceMap{Filename: "Dockerfile", Data: text, Definition: &llb.Definition{}},
		MetaResolver: bases{}, TargetPlatform: &ocispecs.Platform{OS: "linux", Architecture: architecture},
	})
	require.NoError(t, err)
	var found []string
	if result.Error != nil {
		found = append(found, result.Error.Message)
	}
	for _, warning := range result.Warnings {
		found = append(found, warning.RuleName+": "+warning.Detail)
	}
	return found
}

func TestDockerfileIsClean(t *testing.T) {
	t.Parallel()
	for _, architecture := range []string{"amd64", "arm64"} {
		require.Empty(t, findings(t, dockerfile(t), architecture), architecture)
	}
	shell := bytes.Replace(dockerfile(t), []byte(`["/beaconpost"]`), []byte("/beaconpost"), 1)
	require.Contains(t, strings.Join(findings(t, shell, "amd64"), "\n"), "JSONArgsRecommended", "the linter does find things")
}

// The image is what script and chart expect of it.
func TestDockerfileSaysWhatMatters(t *testing.T) {
	t.Parallel()
	parsed, err := parser.Parse(bytes.NewReader(dockerfile(t)))
	require.NoError(t, err)
	stages, _, err := instructions.Parse(parsed.AST, nil)
	require.NoError(t, err)
	require.Len(t, stages, 2)

	require.Equal(t, "$BUILDPLATFORM", stages[0].Platform, "Go compiles for others; an emulated compiler is slow")
	require.Regexp(t, `^golang:`+goVersion(t)+`\.\d+-`, stages[0].BaseName, "a pinned release of the Go that go.work asks for")
	runs := 0
	for _, command := range stages[0].Commands {
		if run, ok := command.(*instructions.RunCommand); ok {
			runs++
			require.Contains(t, strings.Join(run.CmdLine, " "), "scripts/image.sh /image", "what is built is tested here")
		}
	}
	require.Equal(t, 1, runs)

	require.Equal(t, "scratch", stages[1].BaseName)
	labels := map[string]string{}
	for _, command := range stages[1].Commands {
		switch c := command.(type) {
		case *instructions.UserCommand:
			require.Equal(t, "65532:65532", c.User)
		case *instructions.EntrypointCommand:
			require.EqualValues(t, []string{"/beaconpost"}, c.CmdLine)
		case *instructions.CopyCommand:
			require.Equal(t, []string{"build", "/image/", "/"}, []string{c.From, c.SourcePaths[0], c.DestPath})
		case *instructions.LabelCommand:
			for _, label := range c.Labels {
				labels[label.Key] = label.Value
			}
		case *instructions.ArgCommand:
		default:
			require.Fail(t, "what is this for?", "%T", command)
		}
	}
	for _, name := range []string{"title", "description", "source", "documentation", "licenses", "version", "revision"} {
		require.NotEmpty(t, labels["org.opencontainers.image."+name], name)
	}
}

func goVersion(t *testing.T) string {
	t.Helper()
	work, err := os.ReadFile("../go.work")
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(work)
	require.NotNil(t, found)
	return regexp.QuoteMeta(string(found[1]))
}
