package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/config"
)

func TestSecretIsNotPrinted(t *testing.T) {
	t.Parallel()
	cfg := struct {
		Password config.Secret
		Empty    config.Secret
		List     []config.Secret
	}{"hunter2", "", []config.Secret{"hunter2"}}

	encoded, err := json.Marshal(cfg)
	require.NoError(t, err)
	require.JSONEq(t, `{"Password":"***","Empty":"","List":["***"]}`, string(encoded))

	var logged bytes.Buffer
	log := zerolog.New(&logged)
	log.Info().Interface("cfg", cfg).Any("p", cfg.Password).Stringer("s", cfg.Password).Msgf("%s", cfg.Password)
	require.NotContains(t, logged.String(), "hunter2")
	require.Contains(t, logged.String(), "***")

	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
		require.NotContains(t, fmt.Sprintf(verb, cfg), "hunter2", verb)
		require.NotContains(t, fmt.Sprintf(verb, cfg), "68756e74657232", verb)
		require.Equal(t, "***", fmt.Sprintf(verb, cfg.Password), verb)
	}
	require.Equal(t, "hunter2", cfg.Password.Reveal())
}

func TestByteSize(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want config.ByteSize
		out  string
	}{
		{"0", 0, "0B"},
		{"1", 1, "1B"},
		{"512B", 512, "512B"},
		{"256KiB", 256 << 10, "256KiB"},
		{"256 kib", 256 << 10, "256KiB"},
		{"1024KiB", 1 << 20, "1MiB"},
		{"1kB", 1000, "1000B"},
		{"3MB", 3_000_000, "3000000B"},
		{"2GiB", 2 << 30, "2GiB"},
		{"1TB", 1e12, "976562500KiB"},
		{"5000TiB", 5000 << 40, "5000TiB"},
		{"9223372036854775807", math.MaxInt64, "9223372036854775807B"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			got, err := config.ParseByteSize(tt.text)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
			require.Equal(t, tt.out, got.String())
		})
	}
	for _, text := range []string{"", "KiB", "-1", "+1", "1.5MiB", "1K", "1 M", "1  KiB", "0x10", "1_000", "8388608TiB", "9223372036854775808", "1KiB ", " 1"} {
		_, err := config.ParseByteSize(text)
		require.Error(t, err, text)
	}
}

func FuzzParseByteSize(f *testing.F) {
	f.Add("256KiB")
	f.Add("9223372036854775807 TB")
	f.Fuzz(func(t *testing.T, text string) {
		size, err := config.ParseByteSize(text)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, size, config.ByteSize(0))
		again, err := config.ParseByteSize(size.String())
		require.NoError(t, err)
		require.Equal(t, size, again)
	})
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	got := config.Describe(service{Timeout: 30 * time.Second, Waits: []time.Duration{1e9, 2e9}, Database: database{URL: "hunter2"}})
	require.Equal(t, config.Variable{Name: "BEACONPOST_DATABASE_URL", Type: "secret", Required: true, Doc: "Where Postgres is."}, got[0])
	require.Equal(t, config.Variable{Name: "BEACONPOST_DATABASE_MAX_CONNS", Type: "integer", Default: "10", Doc: "Connections per process."}, got[1])
	types := map[string]string{}
	defaults := map[string]string{}
	for _, v := range got {
		types[v.Name], defaults[v.Name] = v.Type, v.Default
	}
	require.Equal(t, map[string]string{
		"BEACONPOST_DATABASE_URL": "secret", "BEACONPOST_DATABASE_MAX_CONNS": "integer", "BEACONPOST_DATABASE_MIN_CONNS": "integer",
		"BEACONPOST_TIMEOUT": "duration", "BEACONPOST_MAX_BODY": "size", "BEACONPOST_DEBUG": "bool", "BEACONPOST_SHARE": "number",
		"BEACONPOST_NETS": "list of text", "BEACONPOST_WAITS": "list of duration", "BEACONPOST_SITE": "URL",
		"BEACONPOST_LABELS": "map", "BEACONPOST_KEYS": "text", "BEACONPOST_NAME": "text",
	}, types)
	require.Equal(t, "30s", defaults["BEACONPOST_TIMEOUT"])
	require.Equal(t, "1s,2s", defaults["BEACONPOST_WAITS"])
	require.Len(t, config.Names(&service{}), len(got))
}

func ExampleLoad() {
	cfg := struct {
		Listen  string          `env:"LISTEN" envDefault:":8080" doc:"Address of the public API."`
		Timeout time.Duration   `env:"TIMEOUT" envDefault:"30s"`
		MaxBody config.ByteSize `env:"MAX_BODY" envDefault:"256KiB"`
	}{}
	environ := []string{"BEACONPOST_TIMEOUT=30", "BEACONPOST_MAXBODY=1MiB", "PATH=/bin"} // os.Environ()

	fmt.Println(config.Load(environ, &cfg, nil))
	// Output:
	// configuration:
	//   BEACONPOST_TIMEOUT: "30" is not a duration such as "30s" or "5m"
	//   BEACONPOST_MAXBODY: is not a known variable, did you mean BEACONPOST_MAX_BODY?
}
