package uuid7_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

func TestTimeIsWhenTheIDWasMade(t *testing.T) {
	t.Parallel()
	before := time.Now().Truncate(time.Millisecond)
	id := uuid.Must(uuid.NewV7())
	require.False(t, uuid7.Time(id).Before(before))
	require.False(t, uuid7.Time(id).After(time.Now()))
}

func TestFloorBoundsItsMillisecond(t *testing.T) {
	t.Parallel()
	id := uuid.Must(uuid.NewV7())
	at := uuid7.Time(id)
	lower, upper := uuid7.Floor(at), uuid7.Floor(at.Add(time.Millisecond))
	require.Negative(t, bytes.Compare(lower[:], id[:]))
	require.Positive(t, bytes.Compare(upper[:], id[:]))
	require.Equal(t, at, uuid7.Time(lower))
}

func TestFloorOfExtremes(t *testing.T) {
	t.Parallel()
	require.Equal(t, uuid.Nil, uuid7.Floor(time.Time{}))
	require.Equal(t, byte(0xff), uuid7.Floor(time.Unix(1<<50, 0))[0])
}

func TestBesideSharesTheMillisecondAndNothingElse(t *testing.T) {
	t.Parallel()
	id := uuid.Must(uuid.NewV7())
	a, b := uuid7.Beside(id), uuid7.Beside(id)
	require.Equal(t, uuid7.Time(id), uuid7.Time(a))
	require.Equal(t, uuid.Version(7), a.Version())
	require.Equal(t, uuid.RFC4122, a.Variant())
	require.NotEqual(t, a, b)
}
