package httpapi_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

func TestDurationJSON(t *testing.T) {
	t.Parallel()
	for text, d := range map[string]time.Duration{
		`"30s"`: 30 * time.Second, `"1m30s"`: 90 * time.Second, `"90s"`: 90 * time.Second, `"1.5h"`: 90 * time.Minute,
		`"250ms"`: 250 * time.Millisecond, `"0s"`: 0, `"7µs"`: 7 * time.Microsecond, `"7us"`: 7 * time.Microsecond,
	} {
		var got httpapi.Duration
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		require.Equal(t, d, time.Duration(got), text)
		written, err := json.Marshal(got)
		require.NoError(t, err)
		require.Equal(t, `"`+d.String()+`"`, string(written))
	}
	for _, text := range []string{`30`, `"30"`, `""`, `"soon"`, `"-"`, `"1d"`, `"9999999999h"`, `{}`, `null `[:0], `[]`, `true`} {
		got := httpapi.Duration(7)
		require.Error(t, json.Unmarshal([]byte(text), &got), text)
		require.EqualValues(t, 7, got, "unchanged by %s", text)
	}
}

func TestOptionalTellsAbsentFromNull(t *testing.T) {
	t.Parallel()
	type patch struct {
		Name    httpapi.Optional[string]           `json:"name"`
		Tags    httpapi.Optional[[]string]         `json:"tags"`
		Timeout httpapi.Optional[httpapi.Duration] `json:"timeout"`
	}
	for text, want := range map[string]patch{
		`{}`:              {},
		`{"name":null}`:   {Name: httpapi.Optional[string]{Set: true, Null: true}},
		`{"name": null }`: {Name: httpapi.Optional[string]{Set: true, Null: true}},
		`{"name":""}`:     {Name: httpapi.Optional[string]{Set: true}},
		`{"name":"x","tags":["a"]}`: {
			Name: httpapi.Optional[string]{Set: true, Value: "x"},
			Tags: httpapi.Optional[[]string]{Set: true, Value: []string{"a"}},
		},
		`{"timeout":"5s"}`: {Timeout: httpapi.Optional[httpapi.Duration]{Set: true, Value: httpapi.Duration(5 * time.Second)}},
	} {
		var got patch
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		require.Equal(t, want, got, text)
	}
	var got patch
	require.Error(t, json.Unmarshal([]byte(`{"name":7}`), &got))
	require.Error(t, json.Unmarshal([]byte(`{"timeout":"soon"}`), &got))
}

func TestOptionalApply(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		patch httpapi.Optional[int]
		want  int
	}{
		"absent": {httpapi.Optional[int]{}, 7},
		"null":   {httpapi.Optional[int]{Set: true, Null: true}, 0},
		"value":  {httpapi.Optional[int]{Set: true, Value: 8}, 8},
		"zero":   {httpapi.Optional[int]{Set: true}, 0},
	} {
		target := 7
		tt.patch.Apply(&target)
		require.Equal(t, tt.want, target, name)
	}
}
