package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

const (
	externalVar = "BEACONPOST_TEST_DATABASE_URL"
	binVar      = "BEACONPOST_POSTGRES_BIN"
	idle        = 10 * time.Second
)

// server is the Postgres that tests share, with a superuser's connection that keeps it running.
type server struct {
	superuserURL string
	conn         *pgx.Conn
	close        func(context.Context) error
}

func openServer(ctx context.Context) (*server, error) {
	if url := os.Getenv(externalVar); url != "" {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", externalVar, err)
		}
		return &server{superuserURL: url, conn: conn, close: conn.Close}, nil
	}
	dir, err := sharedDir()
	if err != nil {
		return nil, err
	}
	lease, err := pgcluster.Share(ctx, pgcluster.Config{
		Dir:       filepath.Join(dir, "postgres"),
		BinDir:    os.Getenv(binVar),
		Ephemeral: true,
		Settings: map[string]string{
			"max_connections": "400", // many pools of many tests
			// Cloning is what tests wait for: a small buffer pool and no write-ahead log for it take a third off.
			"shared_buffers": "32MB", "wal_level": "minimal", "max_wal_senders": "0",
		},
	}, idle)
	if err != nil {
		return nil, fmt.Errorf("open shared test server: %w", err)
	}
	url := lease.URL(pgcluster.Superuser, "postgres")
	return &server{superuserURL: url, conn: lease.Conn(), close: lease.Release}, nil
}

// sharedDir is the same for all test processes of a user that use the same binaries. It must really be the user's own, because others
// can write beside it. Root's is open to passers-by, among them the user that runs Postgres.
func sharedDir() (string, error) {
	name := "beaconpost-pgtest-" + strconv.Itoa(os.Geteuid())
	if bin := os.Getenv(binVar); bin != "" {
		sum := sha256.Sum256([]byte(bin))
		name += "-" + hex.EncodeToString(sum[:4])
	}
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	dir := filepath.Join(os.TempDir(), name)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("create directory of test server: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("inspect directory of test server: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() {
		return "", fmt.Errorf("directory of test server: %s belongs to somebody else", dir)
	}
	if err := os.Chmod(dir, mode); err != nil {
		return "", fmt.Errorf("open directory of test server: %w", err)
	}
	return dir, nil
}
