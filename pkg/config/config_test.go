package config_test

import (
	"errors"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
)

type database struct {
	URL      config.Secret `env:"URL,required" doc:"Where Postgres is."`
	MaxConns int           `env:"MAX_CONNS" envDefault:"10" doc:"Connections per process."`
	MinConns int           `env:"MIN_CONNS"`
}

func (d *database) Validate() []error {
	if d.MinConns > d.MaxConns {
		return []error{config.Invalid("MIN_CONNS", "must be at most MAX_CONNS (%d)", d.MaxConns)}
	}
	return nil
}

type service struct {
	Database database           `envPrefix:"DATABASE_"`
	Timeout  time.Duration      `env:"TIMEOUT" doc:"How long a request may take."`
	Body     config.ByteSize    `env:"MAX_BODY" envDefault:"256KiB"`
	Debug    bool               `env:"DEBUG"`
	Share    float64            `env:"SHARE"`
	Nets     []netip.Prefix     `env:"NETS"`
	Waits    []time.Duration    `env:"WAITS"`
	Site     url.URL            `env:"SITE"`
	Labels   map[string]string  `env:"LABELS"`
	Keys     *secretbox.Keyring `env:"KEYS"`
	Inner    struct {
		Name string `env:"NAME"`
	}
	NotRead  string
	Skipped  string `env:"-"`
	unlisted string `env:"UNLISTED"` //nolint:unused // must be left alone
}

func (s service) Validate() []error {
	if s.Timeout < 0 {
		return []error{errors.New("time does not run backwards")}
	}
	return nil
}

const dsn = "BEACONPOST_DATABASE_URL=postgres://app:hunter2@db/app"

func TestLoad(t *testing.T) {
	t.Parallel()
	key, err := secretbox.GenerateKey("k1")
	require.NoError(t, err)
	cfg := service{Timeout: 30 * time.Second, NotRead: "kept"}
	require.NoError(t, config.Load([]string{
		dsn, "BEACONPOST_DATABASE_MAX_CONNS=20", "BEACONPOST_MAX_BODY=1MiB", "BEACONPOST_DEBUG=true", "BEACONPOST_SHARE=0.5",
		"BEACONPOST_NETS=10.0.0.0/8,fd00::/8", "BEACONPOST_WAITS=1s,2m", "BEACONPOST_SITE=https://example.com/x=y",
		"BEACONPOST_LABELS=a:b,c:d", "BEACONPOST_KEYS=" + key, "BEACONPOST_NAME=first=second", "HOME=/root", "TIMEOUT=1s",
	}, &cfg, nil))

	require.Equal(t, "postgres://app:hunter2@db/app", cfg.Database.URL.Reveal())
	require.Equal(t, 20, cfg.Database.MaxConns)
	require.Equal(t, 30*time.Second, cfg.Timeout, "a value set in code is the default")
	require.Equal(t, config.MiB, cfg.Body)
	require.True(t, cfg.Debug)
	require.Len(t, cfg.Nets, 2)
	require.Equal(t, []time.Duration{time.Second, 2 * time.Minute}, cfg.Waits)
	require.Equal(t, "/x=y", cfg.Site.Path)
	require.Equal(t, map[string]string{"a": "b", "c": "d"}, cfg.Labels)
	require.Equal(t, "k1", cfg.Keys.Primary())
	require.Equal(t, "first=second", cfg.Inner.Name)
	require.Equal(t, "kept", cfg.NotRead)
}

func TestEmptyIsNotSet(t *testing.T) {
	t.Parallel()
	cfg := service{Timeout: time.Second}
	require.NoError(t, config.Load([]string{dsn, "BEACONPOST_TIMEOUT=", "BEACONPOST_MAX_BODY=", "BEACONPOST_TYPO="}, &cfg, nil))
	require.Equal(t, time.Second, cfg.Timeout)
	require.Equal(t, 256*config.KiB, cfg.Body)

	require.ErrorContains(t, config.Load([]string{"BEACONPOST_DATABASE_URL="}, &cfg, nil), "BEACONPOST_DATABASE_URL: is required: Where Postgres is.")
}

func TestAllProblemsTogether(t *testing.T) {
	t.Parallel()
	var cfg service
	err := config.Load([]string{
		"BEACONPOST_DATABASE_MAX_CONNS=many", "BEACONPOST_DATABASE_MIN_CONNS=3", "BEACONPOST_TIMEOUT=30", "BEACONPOST_MAX_BODY=-1",
		"BEACONPOST_DEBUG=maybe", "BEACONPOST_SHARE=half", "BEACONPOST_NETS=10.0.0.0", "BEACONPOST_WAITS=1s,2", "BEACONPOST_LABELS=ab",
		"BEACONPOST_SITE=https://user:hunter2@%zz", "BEACONPOST_KEYS=k1:hunter2", "BEACONPOST_TIMEOT=1s", "BEACONPOST_ZEBRA=1",
	}, &cfg, nil)

	var all *config.Error
	require.ErrorAs(t, err, &all)
	require.Equal(t, []config.Problem{
		{"BEACONPOST_DATABASE_URL", "is required: Where Postgres is."},
		{"BEACONPOST_DATABASE_MAX_CONNS", `"many" is not a whole number in range`},
		{"BEACONPOST_TIMEOUT", `"30" is not a duration such as "30s" or "5m"`},
		{"BEACONPOST_MAX_BODY", `"-1" is not a size such as "256KiB" or "1MiB"`},
		{"BEACONPOST_DEBUG", `"maybe" is not true or false`},
		{"BEACONPOST_SHARE", `"half" is not a number`},
		{"BEACONPOST_NETS", `is not valid: netip.ParsePrefix("10.0.0.0"): no '/'`},
		{"BEACONPOST_WAITS", `"1s,2" is not a comma-separated list, each a duration such as "30s" or "5m"`},
		{"BEACONPOST_SITE", "must be a URL"},
		{"BEACONPOST_LABELS", "must be a comma-separated list of key:value"},
		{"BEACONPOST_KEYS", `is not valid: parse keyring: entry 1: key "k1" must be the standard base64 of 32 bytes`},
		{"BEACONPOST_TIMEOT", "is not a known variable, did you mean BEACONPOST_TIMEOUT?"},
		{"BEACONPOST_ZEBRA", "is not a known variable"},
	}, all.Problems)
	require.NotContains(t, err.Error(), "hunter2")
	require.ErrorContains(t, err, "configuration:\n  BEACONPOST_DATABASE_URL: is required")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	var cfg service
	err := config.Load([]string{dsn, "BEACONPOST_DATABASE_MIN_CONNS=11"}, &cfg, nil)
	require.EqualError(t, err, "configuration:\n  BEACONPOST_DATABASE_MIN_CONNS: must be at most MAX_CONNS (10)")
	cfg = service{}
	err = config.Load([]string{dsn, "BEACONPOST_TIMEOUT=-1s"}, &cfg, nil)
	require.EqualError(t, err, "configuration:\n  time does not run backwards")

	err = config.Load([]string{dsn, "BEACONPOST_DATABASE_MIN_CONNS=11", "BEACONPOST_DEBUG=maybe"}, &cfg, nil)
	require.ErrorContains(t, err, "MIN_CONNS", "a struct is checked although another one has a problem")
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	tests := []struct {
		entry string
		also  []string
		want  string // "" is accepted
	}{
		{"BEACONPOST_WORKERS=4", nil, "BEACONPOST_WORKERS: is not a known variable"},
		{"BEACONPOST_WORKERS=4", []string{"BEACONPOST_WORKERS"}, ""},
		{"BEACONPOST_WORKERS=4", []string{"BEACONPOST_WORKER"}, "did you mean BEACONPOST_WORKER?"},
		{"BEACONPOST_DELIVERY_WORKERS=4", []string{"BEACONPOST_DELIVERY_*"}, ""},
		{"BEACONPOST_DELIVERIES=4", []string{"BEACONPOST_DELIVERY_*"}, "is not a known variable"},
		{"BEACONPOST_UNLISTED=x", nil, "is not a known variable"},
		{"BEACONPOST_database_url=x", nil, "is not a known variable"},
		{"BEACONPOST_TEST_POSTGRES=x", nil, ""},
		{"OTHER_BEACONPOST_X=x", nil, ""},
		{"BEACONPOST_INGEST_SERVICE_HOST=10.0.0.1", nil, ""},
		{"BEACONPOST_INGEST_SERVICE_PORT=8080", nil, ""},
		{"BEACONPOST_INGEST_SERVICE_PORT_HTTP=8080", nil, ""},
		{"BEACONPOST_INGEST_PORT=tcp://10.0.0.1:8080", nil, ""},
		{"BEACONPOST_INGEST_PORT=8080", nil, "is not a known variable"},
		{"BEACONPOST_INGEST_PORT_8080_TCP=tcp://10.0.0.1:8080", nil, ""},
		{"BEACONPOST_INGEST_PORT_8080_TCP_ADDR=10.0.0.1", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.entry, func(t *testing.T) {
			t.Parallel()
			var cfg service
			err := config.Load([]string{dsn, tt.entry}, &cfg, tt.also)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestLoadNeedsAStruct(t *testing.T) {
	t.Parallel()
	for _, into := range []any{nil, service{}, (*service)(nil), new(int)} {
		require.Error(t, config.Load(nil, into, nil))
	}
}

func TestUnreadableType(t *testing.T) {
	t.Parallel()
	var cfg struct {
		C chan int `env:"C"`
	}
	require.ErrorContains(t, config.Load([]string{"BEACONPOST_C=1"}, &cfg, nil), "BEACONPOST_C: cannot be read into a chan int")
}
