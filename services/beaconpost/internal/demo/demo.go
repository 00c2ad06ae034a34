// Package demo is how commands on one machine find a running `beaconpost up`: the file with the demo tenant's credentials, and a small
// client of the public API that uses them.
//
// It owns the file's form, the flags that say otherwise, and how the API's errors read. It does not own the demo tenant: `up` makes it.
package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// fileName is the file's name in the data directory.
const fileName = "demo.json"

// File is what `beaconpost up` tells the other commands. It holds a credential: it is written for its owner only.
type File struct {
	URL      string            `json:"url"` // of the public API, without a path
	TenantID string            `json:"tenant_id"`
	APIKey   string            `json:"api_key"`
	Admin    map[string]string `json:"admin,omitempty"` // service → host:port of its admin port
}

// Read reads the file in the data directory dir. The error of a missing file says what to do and is an fs.ErrNotExist.
func Read(dir string) (File, error) {
	path := filepath.Join(dir, fileName)
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, fmt.Errorf("is `beaconpost up` running with this data directory? %w", err)
	}
	if err != nil {
		return File{}, fmt.Errorf("read demo credentials: %w", err)
	}
	var f File
	if err := json.Unmarshal(body, &f); err != nil {
		return File{}, fmt.Errorf("read demo credentials in %s: %w", path, err)
	}
	if f.URL == "" || f.APIKey == "" {
		return File{}, fmt.Errorf("read demo credentials in %s: url or api_key is missing", path)
	}
	return f, nil
}

// Write writes the file into dir, which must exist, with mode 0600. Readers see the old file or the new one, never a part.
func Write(dir string, f File) error {
	body, err := json.MarshalIndent(f, "", "  ") //nolint:gosec // the file is there to hold the key
	if err != nil {
		return fmt.Errorf("write demo credentials: %w", err)
	}
	temporary, err := os.CreateTemp(dir, fileName+".*") // has mode 0600
	if err != nil {
		return fmt.Errorf("write demo credentials: %w", err)
	}
	if err := replace(temporary, filepath.Join(dir, fileName), append(body, '\n')); err != nil {
		return fmt.Errorf("write demo credentials: %w", errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}

func replace(temporary *os.File, path string, body []byte) error {
	_, err := temporary.Write(body)
	if err == nil {
		err = temporary.Sync()
	}
	if err := errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// DefaultDataDir gives the data directory that commands use unless told otherwise: /var/lib/beaconpost for root, else beaconpost in
// $XDG_STATE_HOME or ~/.local/state. It does not make it.
func DefaultDataDir() string {
	return dataDir(os.Geteuid(), os.Getenv)
}

func dataDir(uid int, env func(string) string) string {
	if uid == 0 {
		return "/var/lib/beaconpost"
	}
	if state := env("XDG_STATE_HOME"); filepath.IsAbs(state) { // the XDG specification: relative paths are to be ignored
		return filepath.Join(state, "beaconpost")
	}
	if home := env("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "beaconpost")
	}
	return "beaconpost-data" // nowhere to go but here
}
