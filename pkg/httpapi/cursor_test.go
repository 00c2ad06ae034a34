package httpapi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

func self(id uuid.UUID) uuid.UUID { return id }

func ids(n int) []uuid.UUID {
	list := make([]uuid.UUID, n)
	for i := range list {
		list[i] = uuid.Must(uuid.NewV7())
	}
	slices.Reverse(list)
	return list
}

func TestPagesLeadToEachOther(t *testing.T) {
	t.Parallel()
	all := ids(7)
	// page is what a store does: at most one more than the limit, after the cursor.
	page := func(p httpapi.Page) []uuid.UUID {
		after, err := p.After()
		require.NoError(t, err)
		rest := all
		if after != nil {
			rest = all[slices.Index(all, *after)+1:]
		}
		return rest[:min(len(rest), p.Limit+1)]
	}
	for limit := 1; limit <= 9; limit++ {
		var got []uuid.UUID
		p := httpapi.Page{Limit: limit}
		for pages := 1; ; pages++ {
			list := httpapi.NewList(p, page(p), self)
			require.LessOrEqual(t, len(list.Data), limit)
			got = append(got, list.Data...)
			if list.NextCursor == "" {
				require.Equal(t, (len(all)+limit-1)/limit, pages, "no empty page at the end")
				break
			}
			require.LessOrEqual(t, len(list.NextCursor), 64, "the parameter takes it")
			p.Cursor = list.NextCursor
		}
		require.Equal(t, all, got)
	}
}

func TestAnEmptyListIsNotNull(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(httpapi.NewList(httpapi.Page{Limit: 10}, nil, self))
	require.NoError(t, err)
	require.JSONEq(t, `{"data":[]}`, string(text))
	text, err = json.Marshal(httpapi.NewList(httpapi.Page{Limit: 1}, []uuid.UUID{uuid.Nil, uuid.Max}, self))
	require.NoError(t, err)
	require.JSONEq(t, `{"data":["00000000-0000-0000-0000-000000000000"],"next_cursor":"AAAAAAAAAAAAAAAAAAAAAA"}`, string(text))
}

func TestGarbageCursor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fakeRoute := route("GET", "/v1/things")
	httpapi.Register(b.api, fakeRoute, func(_ context.Context, in *httpapi.Page) (*struct{ Body string }, error) {
		after, err := in.After()
		return &struct{ Body string }{fmt.Sprint(after)}, err
	})
	b.serve()
	first := httpapi.Page{}
	after, err := first.After()
	require.NoError(t, err)
	require.Nil(t, after)
	for _, cursor := range []string{"x", "AAAA", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA%3D%3D", "%00", "%2B%2B%2B%2BAAAAAAAAAAAAAAAAAA", "00000000-0000-0000-0000-000000000000"} {
		a := b.do("GET", "/v1/things?cursor="+cursor, "")
		require.Equal(t, 422, a.StatusCode, "%s: %s", cursor, a.body)
		p := b.problem(a)
		require.Equal(t, "invalid_cursor", p.Code)
		require.Equal(t, "cursor", p.Field)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add("AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("AAAAAAAAAAAAAAAAAAAAAB") // bits beyond the last byte
	f.Add("AAAAAAAAAAAAAAAAAAAAA\n")
	f.Fuzz(func(t *testing.T, cursor string) {
		id, err := httpapi.Page{Cursor: cursor}.After()
		switch {
		case err != nil:
			require.Nil(t, id)
			require.Equal(t, fault.KindInvalid, fault.KindOf(err))
		case cursor == "":
			require.Nil(t, id)
		default:
			next := httpapi.NewList(httpapi.Page{Limit: 1}, []uuid.UUID{*id, *id}, self).NextCursor
			again, err := httpapi.Page{Cursor: next}.After()
			require.NoError(t, err)
			require.Equal(t, id, again)
			raw, err := base64.RawURLEncoding.DecodeString(cursor)
			require.NoError(t, err)
			require.Equal(t, raw, id[:])
		}
	})
}

func TestOptionalID(t *testing.T) {
	t.Parallel()
	id, err := httpapi.OptionalID("event_id", "")
	require.NoError(t, err)
	require.Nil(t, id)
	want := uuid.New()
	id, err = httpapi.OptionalID("event_id", want.String())
	require.NoError(t, err)
	require.Equal(t, want, *id)
	_, err = httpapi.OptionalID("event_id", "7")
	require.Equal(t, fault.KindInvalid, fault.KindOf(err))
	require.Equal(t, "event_id", fault.From(err).Field)
}
