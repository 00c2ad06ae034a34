package stack

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A service that does not get ready is nobody's: who starts one is given an error only.
func TestAServiceThatIsNotReadyIsEnded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, noted := filepath.Join(dir, "beaconpost"), filepath.Join(dir, "pid")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\necho $$ > "+noted+"\nexec sleep 60\n"), 0o700))
	s := &Stack{cfg: Config{Dir: dir, Binaries: Binaries{Beaconpost: program}}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.Error(t, s.StartDelivery(ctx))
	text, err := os.ReadFile(noted)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
}
