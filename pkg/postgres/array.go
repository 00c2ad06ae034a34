package postgres

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Array is a one-dimensional array parameter that is written straight into the message for the server: no slice is built for it and no
// element goes through reflection, which on the hot path cost as much as the statement's round trip. It may be used once or more, as long
// as what it reads from does not change.
type Array struct {
	oid   uint32 // of the element type
	n     int
	nulls bool
	put   func(buf []byte, i int) []byte // appends length and bytes of element i
	bytes func(i int) int                // the size of element i, if elements may be large; nil: they are not
}

// UUIDs is a uuid[] of n elements.
func UUIDs(n int, at func(i int) uuid.UUID) Array {
	return Array{oid: pgtype.UUIDOID, n: n, put: func(buf []byte, i int) []byte {
		id := at(i)
		return append(binary.BigEndian.AppendUint32(buf, uint32(len(id))), id[:]...)
	}}
}

// NullUUIDs is a uuid[] of n elements; nil is null.
func NullUUIDs(n int, at func(i int) *uuid.UUID) Array {
	return Array{oid: pgtype.UUIDOID, n: n, nulls: true, put: func(buf []byte, i int) []byte {
		id := at(i)
		if id == nil {
			return appendNull(buf)
		}
		return append(binary.BigEndian.AppendUint32(buf, uint32(len(id))), id[:]...)
	}}
}

// Texts is a text[] of n elements.
func Texts(n int, at func(i int) string) Array {
	return Array{oid: pgtype.TextOID, n: n, put: func(buf []byte, i int) []byte {
		return appendText(buf, at(i))
	}}
}

// NullTexts is a text[] of n elements; "" is null.
func NullTexts(n int, at func(i int) string) Array {
	return Array{oid: pgtype.TextOID, n: n, nulls: true, put: func(buf []byte, i int) []byte {
		if text := at(i); text != "" {
			return appendText(buf, text)
		}
		return appendNull(buf)
	}}
}

// NullBytes is a bytea[] of n elements; nil is null.
func NullBytes(n int, at func(i int) []byte) Array {
	return Array{oid: pgtype.ByteaOID, n: n, nulls: true, bytes: func(i int) int { return len(at(i)) }, put: func(buf []byte, i int) []byte {
		raw := at(i)
		if raw == nil {
			return appendNull(buf)
		}
		return append(binary.BigEndian.AppendUint32(buf, uint32(len(raw))), raw...) //nolint:gosec // a body is far below 4 GiB
	}}
}

// Ints is an int[] (four bytes) of n elements.
func Ints(n int, at func(i int) int) Array {
	return Array{oid: pgtype.Int4OID, n: n, put: func(buf []byte, i int) []byte { return appendInt4(buf, at(i)) }}
}

// NullInts is an int[] (four bytes) of n elements; 0 is null.
func NullInts(n int, at func(i int) int) Array {
	return Array{oid: pgtype.Int4OID, n: n, nulls: true, put: func(buf []byte, i int) []byte {
		if v := at(i); v != 0 {
			return appendInt4(buf, v)
		}
		return appendNull(buf)
	}}
}

// BigInts is a bigint[] of n elements.
func BigInts(n int, at func(i int) int64) Array {
	return Array{oid: pgtype.Int8OID, n: n, put: func(buf []byte, i int) []byte { return appendInt8(buf, at(i)) }}
}

// Bools is a boolean[] of n elements.
func Bools(n int, at func(i int) bool) Array {
	return Array{oid: pgtype.BoolOID, n: n, put: func(buf []byte, i int) []byte {
		var b byte
		if at(i) {
			b = 1
		}
		return append(binary.BigEndian.AppendUint32(buf, 1), b)
	}}
}

// postgresEpoch is where the server counts microseconds from.
const postgresEpoch = 946684800 * 1000000 // 2000-01-01 in microseconds since 1970

// Times is a timestamptz[] of n elements, to the microsecond; the zero time is infinity.
func Times(n int, at func(i int) time.Time) Array {
	return Array{oid: pgtype.TimestamptzOID, n: n, put: func(buf []byte, i int) []byte {
		const infinity = 1<<63 - 1
		t := at(i)
		if t.IsZero() {
			return appendInt8(buf, infinity)
		}
		return appendInt8(buf, t.UnixMicro()-postgresEpoch)
	}}
}

func appendNull(buf []byte) []byte { return binary.BigEndian.AppendUint32(buf, 1<<32-1) }

func appendText(buf []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(buf, uint32(len(text))), text...) //nolint:gosec // a text is far below 4 GiB
}

func appendInt4(buf []byte, v int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(buf, 4), uint32(v)) //nolint:gosec // two's complement is meant
}

func appendInt8(buf []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(buf, 8), uint64(v)) //nolint:gosec // two's complement is meant
}

// appendTo writes the array as the server's array_recv reads it.
func (a Array) appendTo(buf []byte) []byte {
	if a.n == 0 {
		buf = binary.BigEndian.AppendUint64(buf, 0) // no dimensions, no nulls
		return binary.BigEndian.AppendUint32(buf, a.oid)
	}
	var nulls uint32
	if a.nulls {
		nulls = 1
	}
	for _, word := range [...]uint32{1, nulls, a.oid, uint32(a.n), 1} { //nolint:gosec // a batch has hundreds of elements
		buf = binary.BigEndian.AppendUint32(buf, word)
	}
	if a.bytes != nil {
		total := 4 * a.n
		for i := range a.n {
			total += a.bytes(i)
		}
		buf = slices.Grow(buf, total)
	}
	for i := range a.n {
		buf = a.put(buf, i)
	}
	return buf
}

// arrayCodec lets Array through and leaves the rest to pgx.
type arrayCodec struct {
	pgtype.Codec
	element uint32
}

func (c arrayCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if a, ok := value.(Array); ok {
		if a.oid != c.element || format != pgtype.BinaryFormatCode {
			return nil
		}
		return encodeArray{}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

func (c arrayCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*[]uuid.UUID); ok && c.element == pgtype.UUIDOID && format == pgtype.BinaryFormatCode {
		return scanUUIDs{}
	}
	return c.Codec.PlanScan(m, oid, format, target)
}

type encodeArray struct{}

func (encodeArray) Encode(value any, buf []byte) ([]byte, error) {
	a, ok := value.(Array)
	if !ok {
		return nil, fmt.Errorf("expected an Array, not %T", value)
	}
	return a.appendTo(buf), nil
}

// uuidCodec handles uuid.UUID by its bytes, where pgx would go through its text, and leaves the rest to pgx.
type uuidCodec struct{ pgtype.Codec }

func (c uuidCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return encodeUUID{}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

func (c uuidCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return scanUUID{}
	}
	return c.Codec.PlanScan(m, oid, format, target)
}

type encodeUUID struct{}

func (encodeUUID) Encode(value any, buf []byte) ([]byte, error) {
	id, ok := value.(uuid.UUID)
	if !ok {
		return nil, fmt.Errorf("expected a UUID, not %T", value)
	}
	return append(buf, id[:]...), nil
}

type scanUUID struct{}

func (scanUUID) Scan(src []byte, target any) error {
	into, ok := target.(*uuid.UUID)
	if !ok || len(src) != len(into) {
		return fmt.Errorf("scan uuid of %d bytes into %T: expected 16 bytes, not null", len(src), target)
	}
	copy(into[:], src)
	return nil
}

type scanUUIDs struct{}

// Scan reads a uuid[] without nulls.
func (scanUUIDs) Scan(src []byte, target any) error {
	const header, element = 20, 4 + 16
	into, ok := target.(*[]uuid.UUID)
	if !ok {
		return fmt.Errorf("scan uuid[] into %T", target)
	}
	*into = nil
	if len(src) < header {
		return nil // null or empty
	}
	n := int(binary.BigEndian.Uint32(src[12:]))
	if binary.BigEndian.Uint32(src) != 1 || len(src) != header+n*element {
		return fmt.Errorf("scan uuid[] of %d elements from %d bytes: expected one dimension without nulls", n, len(src))
	}
	ids := make([]uuid.UUID, n)
	for i := range ids {
		copy(ids[i][:], src[header+i*element+4:])
	}
	*into = ids
	return nil
}

// register teaches a connection the codecs of this file.
func register(conn *pgx.Conn) {
	types := conn.TypeMap()
	if t, ok := types.TypeForOID(pgtype.UUIDOID); ok {
		types.RegisterType(&pgtype.Type{Name: t.Name, OID: t.OID, Codec: uuidCodec{t.Codec}})
	}
	for _, array := range []struct{ oid, element uint32 }{
		{pgtype.UUIDArrayOID, pgtype.UUIDOID}, {pgtype.TextArrayOID, pgtype.TextOID}, {pgtype.ByteaArrayOID, pgtype.ByteaOID},
		{pgtype.Int4ArrayOID, pgtype.Int4OID}, {pgtype.Int8ArrayOID, pgtype.Int8OID}, {pgtype.BoolArrayOID, pgtype.BoolOID},
		{pgtype.TimestamptzArrayOID, pgtype.TimestamptzOID},
	} {
		if t, ok := types.TypeForOID(array.oid); ok {
			types.RegisterType(&pgtype.Type{Name: t.Name, OID: t.OID, Codec: arrayCodec{t.Codec, array.element}})
		}
	}
}
