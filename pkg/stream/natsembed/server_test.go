package natsembed_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/stream/natsembed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg natsembed.Config) *natsembed.Server {
	t.Helper()
	srv, err := natsembed.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, srv) })
	return srv
}

func stop(t *testing.T, srv *natsembed.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, srv.Shutdown(ctx))
}

func connect(t *testing.T, srv *natsembed.Server) jetstream.JetStream {
	t.Helper()
	nc, err := srv.Connect()
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}

func TestStreamSurvivesRestart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg := natsembed.Config{StoreDir: t.TempDir()}

	first := start(t, cfg)
	js := connect(t, first)
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}})
	require.NoError(t, err)
	_, err = js.Publish(ctx, "work.a", []byte("kept"))
	require.NoError(t, err)
	stop(t, first)

	stream, err := connect(t, start(t, cfg)).Stream(ctx, "WORK")
	require.NoError(t, err)
	msg, err := stream.GetLastMsgForSubject(ctx, "work.a")
	require.NoError(t, err)
	require.Equal(t, "kept", string(msg.Data))
}

func TestMessageSchedulesWork(t *testing.T) {
	t.Parallel()
	js := connect(t, start(t, natsembed.Config{StoreDir: t.TempDir()}))
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "WORK", Subjects: []string{"work.>"}, Retention: jetstream.WorkQueuePolicy, AllowMsgSchedules: true,
	})
	require.NoError(t, err)
}

func TestListensOnTCPOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	silent := start(t, natsembed.Config{StoreDir: t.TempDir()})
	require.Empty(t, silent.URL())

	srv := start(t, natsembed.Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc, err := nats.Connect(srv.URL())
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.FlushTimeout(5*time.Second))
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	js := connect(t, start(t, natsembed.Config{StoreDir: t.TempDir(), MaxMemory: 1 << 20}))
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "MEM", Subjects: []string{"mem"}, Storage: jetstream.MemoryStorage, MaxBytes: 2 << 20,
	})
	require.Error(t, err)
}

func TestStartReportsFatalErrors(t *testing.T) {
	t.Parallel()
	busy := start(t, natsembed.Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))

	for name, cfg := range map[string]natsembed.Config{
		"no directory":        {},
		"directory is a file": {StoreDir: file},
		"bad address":         {StoreDir: t.TempDir(), Listen: "nowhere"},
		"bad port":            {StoreDir: t.TempDir(), Listen: "127.0.0.1:nats"},
		"port in use":         {StoreDir: t.TempDir(), Listen: busy.URL()[len("nats://"):]},
	} {
		_, err := natsembed.Start(cfg)
		require.Error(t, err, name)
	}
}

func TestShutdownIsBoundedAndRepeatable(t *testing.T) {
	t.Parallel()
	srv := start(t, natsembed.Config{StoreDir: t.TempDir()})
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.Shutdown(cancelled); err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
	stop(t, srv)
	_, err := srv.Connect()
	require.Error(t, err)
}
