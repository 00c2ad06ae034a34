package deploy_test

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/stretchr/testify/require"
)

const imageVersion = "1.2.3-test"

// imageRoot is set by TestMain before any test runs, and not changed after.
var imageRoot string

// built makes the root of the image once, when the first test asks for it.
var built = sync.OnceValue(func() error { return build("..", imageRoot) })

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "beaconpost-image-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // whoever the program runs as must get in
	}
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	imageRoot = filepath.Join(dir, "root")
	code := m.Run()
	_ = os.RemoveAll(dir) // the system's temporary directory
	os.Exit(code)
}

// build runs the script that the Dockerfile runs, of the sources in a directory.
func build(sources, root string) error {
	cmd := exec.CommandContext(context.Background(), filepath.Join(sources, "scripts/image.sh"), root)
	cmd.Env = append(os.Environ(), "VERSION="+imageVersion, "GOOS=linux", "GOARCH="+os.Getenv("GOARCH"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return &buildError{err, out.String()}
	}
	return nil
}

type buildError struct {
	err error
	out string
}

func (e *buildError) Error() string { return e.err.Error() + "\n" + e.out }

func image(t *testing.T) string {
	t.Helper()
	require.NoError(t, built())
	return imageRoot
}

// The image is the program and certificates, and nobody but root could change them.
func TestImageHasNothingElse(t *testing.T) {
	t.Parallel()
	root := image(t)
	modes := map[string]fs.FileMode{}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		modes[strings.TrimPrefix(path, root)] = info.Mode()
		return err
	}))
	require.Equal(t, map[string]fs.FileMode{"/beaconpost": 0o555, "/etc/ssl/certs/ca-certificates.crt": 0o444}, modes)
	certificates, err := os.ReadFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))
	require.NoError(t, err)
	require.Greater(t, bytes.Count(certificates, []byte("BEGIN CERTIFICATE")), 50)
}

// The program needs no library and no interpreter, brings its time zones, and says what it was made of: that is the SBOM.
func TestProgramIsStatic(t *testing.T) {
	t.Parallel()
	path := filepath.Join(image(t), "beaconpost")
	program, err := elf.Open(path)
	require.NoError(t, err)
	defer program.Close()
	for _, p := range program.Progs {
		require.NotEqual(t, elf.PT_INTERP, p.Type)
		require.NotEqual(t, elf.PT_DYNAMIC, p.Type)
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Greater(t, bytes.Count(text, []byte("TZif2")), 300, "time zones: the image has no /usr/share/zoneinfo")
	here, err := filepath.Abs("..")
	require.NoError(t, err)
	require.False(t, bytes.Contains(text, []byte(here+"/services")), "paths of this machine")

	info, err := buildinfo.ReadFile(path)
	require.NoError(t, err)
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	require.Equal(t, []string{"0", "true", "linux"}, []string{settings["CGO_ENABLED"], settings["-trimpath"], settings["GOOS"]})
	require.NotContains(t, settings, "vcs.revision", "the same sources give the same bytes, with a checkout and without")
	modules := map[string]string{}
	for _, m := range info.Deps {
		modules[m.Path] = m.Version
	}
	for _, m := range []string{"github.com/jackc/pgx/v5", "github.com/nats-io/nats.go", "github.com/beaconpost/beaconpost/services/delivery"} {
		require.NotEmpty(t, modules[m], m)
	}
	require.NotContains(t, modules, "github.com/stretchr/testify")
}

// What a build's context has is enough to build, and gives the same bytes wherever it is.
func TestBuildIsReproducible(t *testing.T) {
	t.Parallel()
	first := image(t)
	sources := t.TempDir()
	copyContext(t, "..", sources)
	second := filepath.Join(t.TempDir(), "root")
	require.NoError(t, build(sources, second))
	for _, name := range []string{"beaconpost", "etc/ssl/certs/ca-certificates.crt"} {
		a, err := os.ReadFile(filepath.Join(first, name))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(second, name))
		require.NoError(t, err)
		require.True(t, bytes.Equal(a, b), name)
	}
}

// copyContext copies what .dockerignore leaves.
func copyContext(t *testing.T, from, into string) {
	t.Helper()
	file, err := os.Open(filepath.Join(from, ".dockerignore"))
	require.NoError(t, err)
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	require.NoError(t, err)
	ignored, err := patternmatcher.New(patterns)
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil || name == "." {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(name)
		switch {
		case err != nil:
			return err
		case skip && entry.IsDir():
			return fs.SkipDir
		case skip:
			return nil
		case entry.IsDir():
			return os.Mkdir(filepath.Join(into, name), 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(into, name), text, info.Mode())
	}))
	require.NoDirExists(t, filepath.Join(into, ".git"))
	require.NoDirExists(t, filepath.Join(into, "deploy"))
}

func TestImageSaysItsVersion(t *testing.T) {
	t.Parallel()
	out, err := within(t, image(t), nil, "version").Output()
	require.NoError(t, err)
	require.Equal(t, imageVersion+"\n", string(out))
}

// within runs the program as a container would: in the image's root, as a user who may write nowhere there. Without the right to do that it is only run.
func within(t *testing.T, root string, environ []string, args ...string) *exec.Cmd {
	t.Helper()
	path := "/beaconpost"
	if os.Geteuid() != 0 {
		path = filepath.Join(root, path)
	}
	cmd := exec.CommandContext(context.Background(), path, args...)
	cmd.Env = append([]string{}, environ...) // not the test's
	if os.Geteuid() == 0 {
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	}
	return cmd
}

// service is one of the three, run from the image with the variables that the chart gives it.
type service struct {
	api, admin string
	cmd        *exec.Cmd
	log        *bytes.Buffer
}

// start runs a service. Neither Postgres nor NATS are there: it serves all the same.
func start(t *testing.T, name string) *service {
	t.Helper()
	r := with(t, "")
	pod := map[string]string{"ingest": "ingest", "delivery": "delivery", "monitor": "monitor-default"}[name]
	s := &service{api: free(t), admin: free(t), log: &bytes.Buffer{}}
	c := pods(r)[prefix+"-"+pod].Spec.Containers[0]
	env := append(environ(t, c),
		"BEACONPOST_DATABASE_URL=postgres://a:b@127.0.0.1:1/d", "BEACONPOST_NATS_URL=nats://127.0.0.1:1", "BEACONPOST_LISTEN="+s.api, "BEACONPOST_ADMIN_LISTEN="+s.admin)
	s.cmd = within(t, image(t), env, c.Args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
	})
	require.Eventually(t, func() bool { status, _ := get(t, "http://"+s.admin+"/healthz"); return status == http.StatusOK }, time.Minute, 50*time.Millisecond, name)
	return s
}

func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// get gives status and body; 0 if there was no answer.
func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, body.Bytes()
}

// Each service runs in the image with the variables of the chart, lives and is not ready without Postgres, and ends by SIGTERM within the grace.
func TestServicesRunInTheImage(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ingest", "delivery", "monitor"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, name)
			status, _ := get(t, "http://"+s.admin+"/readyz")
			require.Equal(t, http.StatusServiceUnavailable, status)
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			grace := time.AfterFunc(time.Minute, func() { _ = s.cmd.Process.Kill() })
			defer grace.Stop()
			require.NoError(t, s.cmd.Wait(), s.log)
			require.NotContains(t, s.log.String(), "read-only file system")
			require.NotContains(t, s.log.String(), "permission denied")
		})
	}
}
