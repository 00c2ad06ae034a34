package demo

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadWhatWasWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := File{URL: "http://127.0.0.1:8080", TenantID: "t", APIKey: "bp_1", Admin: map[string]string{"ingest": "127.0.0.1:9090"}}
	second := File{URL: "http://127.0.0.1:8081", TenantID: "t", APIKey: "bp_2"}
	for _, want := range []File{first, second} {
		require.NoError(t, Write(dir, want))
		got, err := Read(dir)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "temporary files are left")
	info, err := entries[0].Info()
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := Read(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "is `beaconpost up` running with this data directory?")
	require.ErrorContains(t, err, dir)

	for body, want := range map[string]string{"{": "unexpected end", `{"url":"http://x"}`: "api_key is missing"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "demo.json"), []byte(body), 0o600))
		_, err = Read(dir)
		require.ErrorContains(t, err, want)
	}
}

func TestWriteNeedsTheDirectory(t *testing.T) {
	t.Parallel()
	require.ErrorIs(t, Write(filepath.Join(t.TempDir(), "missing"), File{}), fs.ErrNotExist)
}

func TestDataDir(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		uid         int
		state, home string
		want        string
	}{
		{0, "/state", "/root", "/var/lib/beaconpost"},
		{1000, "/state", "/home/a", "/state/beaconpost"},
		{1000, "", "/home/a", "/home/a/.local/state/beaconpost"},
		{1000, "relative", "/home/a", "/home/a/.local/state/beaconpost"},
		{1000, "", "", "beaconpost-data"},
	} {
		env := map[string]string{"XDG_STATE_HOME": tt.state, "HOME": tt.home}
		require.Equal(t, tt.want, dataDir(tt.uid, func(name string) string { return env[name] }))
	}
}
