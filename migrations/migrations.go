// Package migrations owns all DDL of Beaconpost: tables, roles, policies, partitions. Migrations are embedded and run by
// `beaconpost migrate` (a Job in a cluster), never by a service at its start.
package migrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	// The driver that goose talks through.
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed sql/*.sql
var files embed.FS

// Migration says whether one step was applied.
type Migration struct {
	Version   int64
	File      string
	AppliedAt time.Time // zero: pending
}

// Up applies every pending migration to the database at url and returns what it applied. The user needs CREATEROLE and must own the
// database. Concurrent callers wait for each other.
func Up(ctx context.Context, url string) ([]Migration, error) {
	var applied []Migration
	err := withProvider(url, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		for _, r := range results {
			applied = append(applied, Migration{Version: r.Source.Version, File: r.Source.Path, AppliedAt: time.Now()})
		}
		return err
	})
	if err != nil {
		return applied, fmt.Errorf("apply migrations: %w", err)
	}
	return applied, nil
}

// UpTo is Up as far as a version: the schema of an earlier release, for tests of upgrades.
func UpTo(ctx context.Context, url string, version int64) error {
	err := withProvider(url, func(p *goose.Provider) error {
		_, err := p.UpTo(ctx, version)
		return err
	})
	if err != nil {
		return fmt.Errorf("apply migrations up to %d: %w", version, err)
	}
	return nil
}

// Files gives the migrations' text, for tests of what they say.
func Files() fs.FS { return files }

// Status lists all migrations in order, applied or not.
func Status(ctx context.Context, url string) ([]Migration, error) {
	var list []Migration
	err := withProvider(url, func(p *goose.Provider) error {
		states, err := p.Status(ctx)
		for _, s := range states {
			list = append(list, Migration{Version: s.Source.Version, File: s.Source.Path, AppliedAt: s.AppliedAt})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read migration status: %w", err)
	}
	return list, nil
}

// Fingerprint changes with any byte of any migration. Tests name their template database by it.
func Fingerprint() string {
	h := sha256.New()
	// The walk is over embedded files: it cannot fail.
	_ = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := files.ReadFile(path)
		h.Write([]byte(path))
		h.Write(body)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func withProvider(url string, do func(*goose.Provider) error) (err error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("make migration lock: %w", err)
	}
	dir, err := fs.Sub(files, "sql")
	if err != nil {
		return fmt.Errorf("open embedded migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("load migrations: %w", err)
	}
	return do(provider)
}
