package account_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/services/ingest/internal/account"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "Shop, production", "Bücher & Söhne", "日本", strings.Repeat("x", 200), strings.Repeat("ü", 200), " a "} {
		require.NoError(t, account.CheckName(name), name)
	}
	for _, name := range []string{"", " ", "\t\n", strings.Repeat("x", 201), strings.Repeat("ü", 201), "a\x00b", "\x00", "\u00a0"} {
		err := account.CheckName(name)
		require.Equal(t, fault.KindInvalid, fault.KindOf(err), "%q", name)
		require.Equal(t, fault.Code("invalid_name"), fault.CodeOf(err))
		require.Equal(t, "name", fault.From(err).Field)
	}
}
