package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes, written "256KiB". The zero value is 0 bytes.
type ByteSize int64

// The binary units.
const (
	KiB ByteSize = 1 << 10
	MiB ByteSize = 1 << 20
	GiB ByteSize = 1 << 30
	TiB ByteSize = 1 << 40
)

// ParseByteSize reads a whole number and a unit: B (or none), kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers
// of 1024). Upper and lower case are the same; a space before the unit is allowed.
func ParseByteSize(text string) (ByteSize, error) {
	digits := strings.TrimRight(text, " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit, ok := unitOf(strings.TrimPrefix(text[len(digits):], " "))
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || strings.ContainsAny(digits, "+-") || n > int64(math.MaxInt64/unit) {
		return 0, errors.New(`must be a size such as "256KiB"`)
	}
	return ByteSize(n) * unit, nil
}

func unitOf(name string) (ByteSize, bool) {
	switch strings.ToLower(name) {
	case "", "b":
		return 1, true
	case "kb":
		return 1e3, true
	case "mb":
		return 1e6, true
	case "gb":
		return 1e9, true
	case "tb":
		return 1e12, true
	case "kib":
		return KiB, true
	case "mib":
		return MiB, true
	case "gib":
		return GiB, true
	case "tib":
		return TiB, true
	}
	return 1, false
}

// String gives s in the largest binary unit that divides it, as ParseByteSize reads it.
func (s ByteSize) String() string {
	names := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for s != 0 && s%KiB == 0 && i < len(names)-1 {
		s /= KiB
		i++
	}
	return strconv.FormatInt(int64(s), 10) + names[i]
}

// UnmarshalText is ParseByteSize.
func (s *ByteSize) UnmarshalText(text []byte) (err error) {
	*s, err = ParseByteSize(string(text))
	return err
}

// MarshalText is String.
func (s ByteSize) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
