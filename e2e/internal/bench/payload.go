package bench

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// A payload begins with the moment from which its event's latency counts: `{"sent":<nanoseconds since 1970, 19 digits>,`. It is the only
// thing that a producer changes from event to event, in place.
const (
	sentPrefix = `{"sent":`
	sentDigits = 19
)

// payloadOf makes a JSON document of exactly size bytes that looks like an order.
func payloadOf(size int) []byte {
	var b bytes.Buffer
	b.WriteString(sentPrefix + fmt.Sprintf("%0*d", sentDigits, 0) + `,"order":"ord_8f14e45f","currency":"EUR","items":[`)
	const tail = `],"note":""}`
	for n := 0; ; n++ {
		item := fmt.Sprintf(`{"sku":"sku-%06d","name":"Enamel mug","quantity":%d,"price":%d.95,"tags":["kitchen","blue"]}`, n, 1+n%7, 10+n%50)
		if n > 0 {
			item = "," + item
		}
		if b.Len()+len(item)+len(tail) > size {
			break
		}
		b.WriteString(item)
	}
	b.WriteString(tail[:len(tail)-2])
	for b.Len()+2 < size {
		b.WriteByte("abcdefghijklmnop qrstuvwxyz"[b.Len()%27])
	}
	b.WriteString(`"}`)
	return b.Bytes()
}

// stamp writes the moment at into a payload.
func stamp(payload []byte, at time.Time) {
	strconv.AppendInt(payload[len(sentPrefix):len(sentPrefix)], at.UnixNano(), 10)
}

// stamped reads the moment of a payload.
func stamped(payload []byte) (time.Time, bool) {
	if len(payload) < len(sentPrefix)+sentDigits || string(payload[:len(sentPrefix)]) != sentPrefix {
		return time.Time{}, false
	}
	ns, err := strconv.ParseInt(string(payload[len(sentPrefix):len(sentPrefix)+sentDigits]), 10, 64)
	return time.Unix(0, ns), err == nil
}

// writeIDs and readIDs are the binary form of a list of ids, 16 bytes each.
func writeIDs(ids []uuid.UUID) []byte {
	out := make([]byte, 0, 16*len(ids))
	for _, id := range ids {
		out = append(out, id[:]...)
	}
	return out
}

func readIDs(raw []byte) ([]uuid.UUID, error) {
	if len(raw)%16 != 0 {
		return nil, fmt.Errorf("list of ids has %d bytes, not a multiple of 16", len(raw))
	}
	ids := make([]uuid.UUID, len(raw)/16)
	for i := range ids {
		copy(ids[i][:], raw[16*i:])
	}
	return ids, nil
}
