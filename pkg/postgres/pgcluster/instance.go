package pgcluster

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// port only names the socket's file: nothing listens on TCP.
const port = 5432

// instance is a cluster's directory with everything that is decided before its server runs.
type instance struct {
	dir          string // absolute
	logFile      string
	binDir       string
	settings     map[string]string
	ephemeral    bool
	startTimeout time.Duration

	runAs   *account // nil: as the caller
	bin     binaries // set by initialise
	sockets sockets  // set by initialise
}

// newInstance checks what can be checked before anything but the directory's parents is created.
func newInstance(cfg Config) (*instance, error) {
	if cfg.Dir == "" {
		return nil, errors.New("no directory given")
	}
	runAs, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, err := resolve(cfg.Dir, runAs)
	if err != nil {
		return nil, err
	}
	if err := runAs.checkTraversable(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	in := &instance{
		dir: dir, logFile: cfg.LogFile, binDir: cfg.BinDir, settings: cfg.Settings, ephemeral: cfg.Ephemeral,
		startTimeout: cfg.StartTimeout, runAs: runAs,
	}
	if in.logFile == "" {
		in.logFile = dir + ".log"
	}
	if in.startTimeout == 0 {
		in.startTimeout = defaultStartTimeout
	}
	if in.binDir != "" {
		if in.binDir, err = filepath.Abs(in.binDir); err != nil {
			return nil, fmt.Errorf("resolve directory of binaries: %w", err)
		}
	}
	return in, nil
}

// resolve gives a directory's one name without symlinks, so that it has one lock too, and creates its parents.
func resolve(dir string, runAs *account) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolve directory: %w", err)
	}
	if err := makeParents(filepath.Dir(dir), runAs); err != nil {
		return "", err
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		return resolved, nil
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", wrapAccess("resolve directory", err)
	}
	return filepath.Join(parent, filepath.Base(dir)), nil
}

func (in *instance) lockPath() string { return in.dir + ".lock" }

// args are the postmaster's arguments. Settings go here and not into postgresql.conf, so that a new release's
// defaults reach old clusters.
func (in *instance) args() []string {
	settings := map[string]string{
		"shared_buffers":     "128MB",
		"max_connections":    "100",
		"fsync":              "on",
		"synchronous_commit": "on",
		"full_page_writes":   "on",
		"jit":                "off", // it costs more than it gains on short queries
		"timezone":           "UTC",
		"log_timezone":       "UTC",
		"log_checkpoints":    "off",
		"logging_collector":  "off",
		"lc_messages":        "C", // explain reads the log
		"cluster_name":       "beaconpost",
	}
	if in.ephemeral {
		maps.Copy(settings, map[string]string{"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})
	}
	maps.Copy(settings, in.settings)
	maps.Copy(settings, map[string]string{
		"listen_addresses":        "",
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": `"` + strings.ReplaceAll(in.sockets.path, `"`, `""`) + `"`,
		"unix_socket_permissions": "0700",
	})
	args := []string{"-D", in.dir}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

func socketURL(dir, user, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + database}
	u.RawQuery = url.Values{"host": {dir}, "port": {strconv.Itoa(port)}, "sslmode": {"disable"}}.Encode()
	return u.String()
}
