package stream_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	deliveryv1 "github.com/beaconpost/beaconpost/proto/beaconpost/delivery/v1"
	"github.com/beaconpost/beaconpost/proto/subject"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestMessagesArriveAsTheyWereSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	due := time.Date(2026, 3, 29, 1, 59, 59, 123456000, time.UTC)
	for name, want := range map[string]stream.DeliveryReady{
		"first":       {Attempt: 1, Due: due},
		"with trace":  {Attempt: 2, Due: due, Traceparent: traceparent},
		"to claim":    {Attempt: 100, Due: due, MustClaim: true},
		"before 1970": {Attempt: 1, Due: time.UnixMicro(-7)},
	} {
		want.Tenant, want.DeliveryID = tenant.ID(uuid.New()), uuid.New()
		b.pub.Ready(want)
		got := b.next(want.Tenant).message
		require.True(t, want.Due.Equal(got.Due), "%s: %s, not %s", name, got.Due, want.Due)
		got.Due = want.Due
		require.Equal(t, want, got, name)
	}
}

// What is due together travels together: those of a shard in one message, in order, up to a bound.
func TestDeliveriesOfAShardShareAMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, other := message(time.Now()).Tenant, message(time.Now()).Tenant
	one[15], other[15] = 3, 4
	var due []stream.DeliveryReady
	for i := range 200 {
		m := message(time.Now())
		if m.Tenant = one; i%10 == 0 {
			m.Tenant = other
		}
		due = append(due, m)
	}
	b.pub.Ready(due...)
	b.pub.settled(4)
	var got []stream.DeliveryReady
	for _, want := range []int{64, 64, 52} { // 180
		group := b.next(one).group
		require.Len(t, group, want)
		got = append(got, group...)
	}
	got = append(got, b.next(other).group...)
	require.Len(t, got, 200)
	ids := map[uuid.UUID]tenant.ID{}
	for _, m := range due {
		ids[m.DeliveryID] = m.Tenant
	}
	for i, m := range got {
		require.Equal(t, ids[m.DeliveryID], m.Tenant, i)
		delete(ids, m.DeliveryID)
	}
	require.Empty(t, ids)
}

func TestNothingDueIsNoMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.pub.Ready()
	b.pub.Ready(message(time.Now()))
	b.pub.settled(1)
	require.Equal(t, 1, b.stored(subject.ReadyAll))
}

// wire gives a good body of two deliveries, the second of which change has spoilt.
func wire(t testing.TB, change func(m *deliveryv1.DeliveryReady)) []byte {
	t.Helper()
	var group deliveryv1.DeliveriesReady
	for range 2 {
		a, b := uuid.New(), uuid.New()
		group.Deliveries = append(group.Deliveries, &deliveryv1.DeliveryReady{TenantId: a[:], DeliveryId: b[:], Attempt: 1, DueUnixMicro: 1_700_000_000_000_000})
	}
	change(group.GetDeliveries()[1])
	body, err := proto.Marshal(&group)
	require.NoError(t, err)
	return body
}

func TestBytesThatAreNoMessage(t *testing.T) {
	t.Parallel()
	good := wire(t, func(*deliveryv1.DeliveryReady) {})
	_, err := stream.DecodeDeliveriesReady(good)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		body []byte
		want string
	}{
		"nothing":         {nil, "no deliveries"},
		"text":            {[]byte("garbage"), "decode delivery message"},
		"cut":             {good[:20], "decode delivery message"},
		"short tenant":    {wire(t, func(m *deliveryv1.DeliveryReady) { m.TenantId = m.TenantId[1:] }), "deliveries[1].tenant_id"},
		"no delivery":     {wire(t, func(m *deliveryv1.DeliveryReady) { m.DeliveryId = nil }), "deliveries[1].delivery_id"},
		"long delivery":   {wire(t, func(m *deliveryv1.DeliveryReady) { m.DeliveryId = append(m.DeliveryId, 0) }), "delivery_id"},
		"attempt 0":       {wire(t, func(m *deliveryv1.DeliveryReady) { m.Attempt = 0 }), "attempt"},
		"absurd attempt":  {wire(t, func(m *deliveryv1.DeliveryReady) { m.Attempt = math.MaxUint32 }), "attempt"},
		"a page of zeros": {make([]byte, 4096), "decode delivery message"},
	} {
		_, err := stream.DecodeDeliveriesReady(tt.body)
		require.ErrorContains(t, err, tt.want, name)
	}
}

// A newer sender may add fields.
func TestUnknownFieldsAreIgnored(t *testing.T) {
	t.Parallel()
	body := append(wire(t, func(*deliveryv1.DeliveryReady) {}), 0xf8, 0x07, 0x01) // field 127, varint 1
	_, err := stream.DecodeDeliveriesReady(body)
	require.NoError(t, err)
}

func FuzzDecodeDeliveriesReady(f *testing.F) {
	f.Add(wire(f, func(m *deliveryv1.DeliveryReady) { m.Traceparent = traceparent }))
	f.Add(wire(f, func(m *deliveryv1.DeliveryReady) { m.MustClaim, m.DueUnixMicro = true, math.MinInt64 }))
	f.Add([]byte(nil))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		got, err := stream.DecodeDeliveriesReady(body)
		require.Equal(t, before, body)
		if err != nil {
			require.Nil(t, got)
			return
		}
		var again deliveryv1.DeliveriesReady
		for _, d := range got {
			require.Positive(t, d.Attempt)
			again.Deliveries = append(again.Deliveries, &deliveryv1.DeliveryReady{
				TenantId: d.Tenant[:], DeliveryId: d.DeliveryID[:], Attempt: uint32(d.Attempt), DueUnixMicro: d.Due.UnixMicro(), MustClaim: d.MustClaim, Traceparent: d.Traceparent,
			})
		}
		bytesAgain, err := proto.Marshal(&again)
		require.NoError(t, err)
		same, err := stream.DecodeDeliveriesReady(bytesAgain)
		require.NoError(t, err)
		require.Equal(t, got, same)
	})
}
