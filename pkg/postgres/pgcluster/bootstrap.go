package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
)

// The two roles that log in. The owner owns the schema and runs migrations; the app is what services connect as: it may
// nothing by itself and takes one of the service roles per transaction (SET LOCAL ROLE).
const (
	RoleOwner = "beaconpost_owner"
	RoleApp   = "beaconpost_app"
)

// Bootstrap makes database ready for services and returns the URLs of its two login roles: it creates the roles and
// the database when missing, lets migrate bring the schema up to date as the owner, and grants the service roles,
// which the migrations create, to the app role. It may be repeated, also by several processes at once (they take
// turns), and after having been interrupted anywhere. superuserURL is a postgres:// URL of a superuser; if it has a
// password the login roles get the same one, otherwise none.
func Bootstrap(
	ctx context.Context, superuserURL, database string, migrate func(ctx context.Context, ownerURL string) error,
) (ownerURL, appURL string, err error) {
	if ownerURL, err = RoleURL(superuserURL, RoleOwner, database); err != nil {
		return "", "", err
	}
	if appURL, err = RoleURL(superuserURL, RoleApp, database); err != nil {
		return "", "", err
	}
	conn, err := pgx.Connect(ctx, superuserURL)
	if err != nil {
		return "", "", fmt.Errorf("bootstrap: connect as superuser: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()

	const lock = `SELECT pg_advisory_lock($1, $2)` // ends with the connection
	if _, err := conn.Exec(ctx, lock, lockSpace, lockBootstrap); err != nil {
		return "", "", fmt.Errorf("bootstrap: wait for others: %w", err)
	}
	if err := createLogins(ctx, conn); err != nil {
		return "", "", fmt.Errorf("bootstrap: %w", err)
	}
	if err := createDatabase(ctx, conn, database); err != nil {
		return "", "", fmt.Errorf("bootstrap: %w", err)
	}
	if err := migrate(ctx, ownerURL); err != nil {
		return "", "", fmt.Errorf("bootstrap: migrate %s: %w", database, err)
	}
	if err := grantServiceRoles(ctx, conn); err != nil {
		return "", "", fmt.Errorf("bootstrap: %w", err)
	}
	return ownerURL, appURL, nil
}

// RoleURL is superuserURL with another role and database; host, password and options stay.
func RoleURL(superuserURL, role, database string) (string, error) {
	u, err := url.Parse(superuserURL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return "", errors.New("not a postgres:// URL") // which may hold a password: do not repeat it
	}
	if password, ok := u.User.Password(); ok {
		u.User = url.UserPassword(role, password)
	} else {
		u.User = url.User(role)
	}
	u.Path, u.RawPath = "/"+database, ""
	return u.String(), nil
}

func createLogins(ctx context.Context, conn *pgx.Conn) error {
	for role, attributes := range map[string]string{
		RoleOwner: "LOGIN NOSUPERUSER NOCREATEDB CREATEROLE NOREPLICATION NOBYPASSRLS",
		RoleApp:   "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS",
	} {
		const query = `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`
		var exists bool
		if err := conn.QueryRow(ctx, query, role).Scan(&exists); err != nil {
			return fmt.Errorf("look for role %s: %w", role, err)
		}
		verb := "CREATE ROLE "
		if exists {
			verb = "ALTER ROLE "
		}
		if _, err := conn.Exec(ctx, verb+quote(role)+" WITH "+attributes); err != nil {
			return fmt.Errorf("create role %s: %w", role, err)
		}
		if err := setPassword(ctx, conn, role); err != nil {
			return err
		}
	}
	return nil
}

// setPassword gives the role the superuser's password, if there is one.
func setPassword(ctx context.Context, conn *pgx.Conn, role string) error {
	password := conn.Config().Password
	if password == "" {
		return nil
	}
	const query = `SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)` // it takes no parameters itself
	var statement string
	err := conn.QueryRow(ctx, query, role, password).Scan(&statement)
	if err == nil {
		_, err = conn.Exec(ctx, statement)
	}
	if err != nil {
		return fmt.Errorf("set password of role %s: %w", role, err)
	}
	return nil
}

func createDatabase(ctx context.Context, conn *pgx.Conn, database string) error {
	const query = `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`
	var exists bool
	if err := conn.QueryRow(ctx, query, database).Scan(&exists); err != nil {
		return fmt.Errorf("look for database %s: %w", database, err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+quote(database)+" OWNER "+quote(RoleOwner)); err != nil {
		return fmt.Errorf("create database %s: %w", database, err)
	}
	return nil
}

func grantServiceRoles(ctx context.Context, conn *pgx.Conn) error {
	const grant = `GRANT beaconpost_api, beaconpost_ingest, beaconpost_delivery, beaconpost_monitor TO beaconpost_app`
	if _, err := conn.Exec(ctx, grant); err != nil {
		return fmt.Errorf("grant service roles: %w", err)
	}
	return nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
