package pgcluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// minMajor is the oldest Postgres that Beaconpost is tested with.
const minMajor = 15

// binaries is an installed Postgres.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// findBinaries looks in binDir, or in the usual places when it is empty, for Postgres of the given major version, or for
// the first that is new enough when major is 0.
func findBinaries(ctx context.Context, binDir string, major int) (binaries, error) {
	dirs := []string{binDir}
	if binDir == "" {
		dirs = usualPlaces()
	}
	var found []string
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) || !hasPrograms(dir) {
			continue
		}
		bin := binaries{dir: dir}
		var err error
		if bin.major, err = askVersion(ctx, bin.path("postgres")); err != nil {
			if ctx.Err() != nil {
				return binaries{}, err
			}
			found = append(found, err.Error())
			continue
		}
		if bin.major == major || (major == 0 && bin.major >= minMajor) {
			return bin, nil
		}
		found = append(found, fmt.Sprintf("%d in %s", bin.major, dir))
	}
	switch {
	case len(found) == 0 && binDir != "":
		return binaries{}, fmt.Errorf("no postgres and initdb in %s: %w", binDir, ErrBinariesMissing)
	case len(found) == 0:
		return binaries{}, ErrBinariesMissing
	case major == 0:
		return binaries{}, fmt.Errorf("%w: found %s, need %d or newer",
			ErrVersionMismatch, strings.Join(found, ", "), minMajor)
	default:
		return binaries{}, fmt.Errorf("%w: the data directory was written by version %d, found %s: install postgresql-%d, "+
			"or start with another directory and copy the data with pg_dump",
			ErrVersionMismatch, major, strings.Join(found, ", "), major)
	}
}

// usualPlaces lists directories where packages install servers, the newest version first.
func usualPlaces() []string {
	dirs := newestFirst("/usr/lib/postgresql/*/bin")
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	for _, pattern := range []string{
		"/usr/pgsql-*/bin", // PGDG on Red Hat
		"/usr/local/pgsql/bin",
		"/usr/libexec/postgresql*", // Alpine
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		dirs = append(dirs, newestFirst(pattern)...)
	}
	return dirs
}

func newestFirst(pattern string) []string {
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		return nil // only a bad pattern fails
	}
	digits := regexp.MustCompile(`\d+`)
	version := func(dir string) int {
		n, _ := strconv.Atoi(digits.FindString(dir))
		return n
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return dirs
}

func hasPrograms(dir string) bool {
	for _, program := range []string{"postgres", "initdb"} {
		info, err := os.Stat(filepath.Join(dir, program))
		if err != nil || info.IsDir() || info.Mode().Perm()&0o111 == 0 {
			return false
		}
	}
	return true
}

// askVersion reads "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
func askVersion(ctx context.Context, postgres string) (int, error) {
	out, err := exec.CommandContext(ctx, postgres, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", postgres, err)
	}
	match := regexp.MustCompile(`\) (\d+)`).FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("ask %s for its version: unexpected answer %q", postgres, out)
	}
	return strconv.Atoi(string(match[1]))
}
