package service_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/service"
)

const databaseVar = "BEACONPOST_DATABASE_URL=postgres://beaconpost:hunter2@localhost/beaconpost"

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	var cfg service.Config
	require.NoError(t, config.Load([]string{databaseVar}, &cfg, nil))
	require.EqualValues(t, 10, cfg.DatabaseMaxConns)
	require.Equal(t, "nats://127.0.0.1:4222", cfg.NATSURL)
	require.Equal(t, 1, cfg.StreamReplicas)
	require.Equal(t, "info", cfg.LogLevel)
	require.Equal(t, 25*time.Second, cfg.ShutdownGrace)
	require.InDelta(t, 1, cfg.TraceSampleRatio, 0)
	require.Equal(t, time.Minute, cfg.APIKeys.TTL)
}

func TestConfigNamesTheVariableAtFault(t *testing.T) {
	t.Parallel()
	const together = "BEACONPOST_AUTH_JWKS: expected AUTH_JWKS, AUTH_ISSUER and AUTH_AUDIENCE together, or none of them"
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{[]string{"BEACONPOST_STREAM_REPLICAS=2"}, "BEACONPOST_STREAM_REPLICAS: expected 1, 3 or 5, got 2"},
		{[]string{"BEACONPOST_STREAM_REPLICAS=0"}, "BEACONPOST_STREAM_REPLICAS: expected 1, 3 or 5, got 0"},
		{[]string{"BEACONPOST_TRACE_SAMPLE_RATIO=1.5"}, "BEACONPOST_TRACE_SAMPLE_RATIO: expected 0 to 1, got 1.5"},
		{[]string{"BEACONPOST_TRACE_SAMPLE_RATIO=-0.1"}, "BEACONPOST_TRACE_SAMPLE_RATIO: expected 0 to 1, got -0.1"},
		{[]string{"BEACONPOST_TRACE_SAMPLE_RATIO=NaN"}, "BEACONPOST_TRACE_SAMPLE_RATIO: expected 0 to 1, got NaN"},
		{[]string{"BEACONPOST_TRACE_CALLERS=NaN"}, "BEACONPOST_TRACE_CALLERS: expected 0 to 1000000, got NaN"},
		{[]string{"BEACONPOST_TRACE_KEEP_ERRORS=-1"}, "BEACONPOST_TRACE_KEEP_ERRORS: expected 0 to 1000000, got -1"},
		{[]string{"BEACONPOST_OTLP_ENDPOINT=collector:4318"}, "BEACONPOST_OTLP_ENDPOINT: expected an http or https URL"},
		{[]string{"BEACONPOST_OTLP_ENDPOINT=https://user:hunter3@collector"}, "BEACONPOST_OTLP_ENDPOINT: expected no credentials, query or fragment, which would not be sent: there are headers"},
		{[]string{"BEACONPOST_OTLP_ENDPOINT=https://collector/otlp?key=hunter3"}, "BEACONPOST_OTLP_ENDPOINT: expected no credentials, query or fragment, which would not be sent: there are headers"},
		{[]string{"BEACONPOST_OTLP_ENDPOINT=http://collector/x", "BEACONPOST_OTLP_PROTOCOL=grpc"}, "BEACONPOST_OTLP_ENDPOINT: expected no path: gRPC has none"},
		{[]string{"BEACONPOST_OTLP_PROTOCOL=http/json"}, `BEACONPOST_OTLP_PROTOCOL: expected http/protobuf or grpc, got "http/json"`},
		{[]string{"BEACONPOST_OTLP_METRICS_INTERVAL=10s"}, "BEACONPOST_OTLP_ENDPOINT: expected where metrics are sent to"},
		{[]string{"BEACONPOST_OTLP_ENDPOINT=http://c", "BEACONPOST_OTLP_METRICS_INTERVAL=1ms"}, "BEACONPOST_OTLP_METRICS_INTERVAL: expected 0 or 1s and more, got 1ms"},
		{[]string{"BEACONPOST_OTLP_HEADERS=a=1,hunter3"}, "BEACONPOST_OTLP_HEADERS: expected name=value, separated by commas, which number 2 is not"},
		{[]string{"BEACONPOST_OTLP_HEADERS=a b=1"}, "BEACONPOST_OTLP_HEADERS: expected name=value, separated by commas, which number 1 is not"},
		{[]string{"BEACONPOST_OTLP_HEADERS=a=%zz"}, "BEACONPOST_OTLP_HEADERS: expected name=value, separated by commas, which number 1 is not"},
		{[]string{"BEACONPOST_DATABASE_MAX_CONNS=1"}, "BEACONPOST_DATABASE_MAX_CONNS: expected 2 or more, got 1"},
		{[]string{"BEACONPOST_LOG_LEVEL=loud"}, `BEACONPOST_LOG_LEVEL: expected trace, debug, info, warn or error, got "loud"`},
		{[]string{"BEACONPOST_SHUTDOWN_GRACE=0s"}, "BEACONPOST_SHUTDOWN_GRACE: expected more than 0, got 0s"},
		{[]string{"BEACONPOST_SHUTDOWN_GRACE=-1s"}, "BEACONPOST_SHUTDOWN_GRACE: expected more than 0, got -1s"},
		{[]string{"BEACONPOST_AUTH_JWKS=/keys"}, together},
		{[]string{"BEACONPOST_AUTH_ISSUER=me"}, together},
		{[]string{"BEACONPOST_AUTH_JWKS=/keys", "BEACONPOST_AUTH_ISSUER=me"}, together},
		{[]string{"BEACONPOST_AUTH_ISSUER=me", "BEACONPOST_AUTH_AUDIENCE=us"}, together},
	} {
		var cfg service.Config
		require.EqualError(t, config.Load(append(tt.environ, databaseVar), &cfg, nil), "configuration:\n  "+tt.want)
	}
	for _, environ := range [][]string{
		{"BEACONPOST_STREAM_REPLICAS=5"}, {"BEACONPOST_TRACE_SAMPLE_RATIO=0"}, {"BEACONPOST_DATABASE_MAX_CONNS=2"},
		{"BEACONPOST_OTLP_ENDPOINT=https://collector:4317", "BEACONPOST_OTLP_PROTOCOL=grpc", "BEACONPOST_OTLP_HEADERS=x-key=a%2Cb,,y=", "BEACONPOST_OTLP_METRICS_INTERVAL=30s"},
		{"BEACONPOST_AUTH_JWKS=/keys", "BEACONPOST_AUTH_ISSUER=me", "BEACONPOST_AUTH_AUDIENCE=us"},
	} {
		var cfg service.Config
		require.NoError(t, config.Load(append(environ, databaseVar), &cfg, nil), environ)
	}
}

func TestAllProblemsOfAConfigComeTogether(t *testing.T) {
	t.Parallel()
	var cfg service.Config
	err := config.Load([]string{databaseVar, "BEACONPOST_STREAM_REPLICAS=2", "BEACONPOST_DATABASE_MAX_CONNS=0", "BEACONPOST_AUTH_ISSUER=me"}, &cfg, nil)
	var all *config.Error
	require.ErrorAs(t, err, &all)
	require.Len(t, all.Problems, 3)
	require.NotContains(t, err.Error(), "hunter2")
	require.ErrorContains(t, config.Load(nil, &cfg, nil), "BEACONPOST_DATABASE_URL: is required: Postgres, as a URL")
}
