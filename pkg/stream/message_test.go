package stream_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	deliveryv1 "github.com/beaconpost/beaconpost/proto/beaconpost/delivery/v1"
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

// wire gives a good body that change has spoilt.
func wire(t testing.TB, change func(m *deliveryv1.DeliveryReady)) []byte {
	t.Helper()
	a, b := uuid.New(), uuid.New()
	m := &deliveryv1.DeliveryReady{TenantId: a[:], DeliveryId: b[:], Attempt: 1, DueUnixMicro: 1_700_000_000_000_000}
	change(m)
	body, err := proto.Marshal(m)
	require.NoError(t, err)
	return body
}

func TestBytesThatAreNoMessage(t *testing.T) {
	t.Parallel()
	_, err := stream.DecodeDeliveryReady(wire(t, func(*deliveryv1.DeliveryReady) {}), nil)
	require.NoError(t, err, "no headers are fine")
	for name, tt := range map[string]struct {
		body []byte
		want string
	}{
		"nothing":         {nil, "tenant_id"},
		"text":            {[]byte("garbage"), "decode delivery message"},
		"cut":             {wire(t, func(*deliveryv1.DeliveryReady) {})[:20], "decode delivery message"},
		"short tenant":    {wire(t, func(m *deliveryv1.DeliveryReady) { m.TenantId = m.TenantId[1:] }), "tenant_id"},
		"no delivery":     {wire(t, func(m *deliveryv1.DeliveryReady) { m.DeliveryId = nil }), "delivery_id"},
		"long delivery":   {wire(t, func(m *deliveryv1.DeliveryReady) { m.DeliveryId = append(m.DeliveryId, 0) }), "delivery_id"},
		"attempt 0":       {wire(t, func(m *deliveryv1.DeliveryReady) { m.Attempt = 0 }), "attempt"},
		"absurd attempt":  {wire(t, func(m *deliveryv1.DeliveryReady) { m.Attempt = math.MaxUint32 }), "attempt"},
		"a page of zeros": {make([]byte, 4096), "decode delivery message"},
	} {
		_, err := stream.DecodeDeliveryReady(tt.body, nats.Header{})
		require.ErrorContains(t, err, tt.want, name)
	}
}

// A newer sender may add fields.
func TestUnknownFieldsAreIgnored(t *testing.T) {
	t.Parallel()
	body := append(wire(t, func(*deliveryv1.DeliveryReady) {}), 0xf8, 0x07, 0x01) // field 127, varint 1
	_, err := stream.DecodeDeliveryReady(body, nil)
	require.NoError(t, err)
}

func FuzzDecodeDeliveryReady(f *testing.F) {
	f.Add(wire(f, func(*deliveryv1.DeliveryReady) {}), traceparent)
	f.Add(wire(f, func(m *deliveryv1.DeliveryReady) { m.MustClaim, m.DueUnixMicro = true, math.MinInt64 }), "")
	f.Add([]byte(nil), "")
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, "x")
	f.Fuzz(func(t *testing.T, body []byte, trace string) {
		before := bytes.Clone(body)
		got, err := stream.DecodeDeliveryReady(body, nats.Header{"traceparent": []string{trace}})
		require.Equal(t, before, body)
		if err != nil {
			require.Equal(t, stream.DeliveryReady{}, got)
			return
		}
		require.Positive(t, got.Attempt)
		require.Equal(t, trace, got.Traceparent)
		a, b := got.Tenant.UUID(), got.DeliveryID
		again, err := proto.Marshal(&deliveryv1.DeliveryReady{
			TenantId: a[:], DeliveryId: b[:], Attempt: uint32(got.Attempt), DueUnixMicro: got.Due.UnixMicro(), MustClaim: got.MustClaim,
		})
		require.NoError(t, err)
		same, err := stream.DecodeDeliveryReady(again, nats.Header{"traceparent": []string{trace}})
		require.NoError(t, err)
		require.Equal(t, got, same)
	})
}
