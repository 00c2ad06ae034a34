package config

import (
	"encoding"
	"net/url"
	"reflect"
	"time"
)

// kind is what operators are told about a type.
type kind struct {
	name     string // for tables
	expected string // completes "is not …" and "must be …"; "" if only the parser can tell
	plain    bool   // values may be repeated in errors
	opaque   bool   // the parser's error repeats the value, which may contain a password
}

func kindOf(t reflect.Type) kind {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return kind{name: "duration", expected: `a duration such as "30s" or "5m"`, plain: true}
	case reflect.TypeFor[ByteSize]():
		return kind{name: "size", expected: `a size such as "256KiB" or "1MiB"`, plain: true}
	case reflect.TypeFor[Secret]():
		return kind{name: "secret", opaque: true}
	case reflect.TypeFor[url.URL]():
		return kind{name: "URL", expected: "a URL", opaque: true}
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return kind{name: "text"}
	}
	return basicKind(t)
}

func basicKind(t reflect.Type) kind {
	switch t.Kind() {
	case reflect.Bool:
		return kind{name: "bool", expected: "true or false", plain: true}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return kind{name: "integer", expected: "a whole number in range", plain: true}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return kind{name: "integer", expected: "a whole number in range, not negative", plain: true}
	case reflect.Float32, reflect.Float64:
		return kind{name: "number", expected: "a number", plain: true}
	case reflect.Slice:
		return listKind(kindOf(t.Elem()))
	case reflect.Map:
		return kind{name: "map", expected: "a comma-separated list of key:value", opaque: true}
	default:
		return kind{name: "text"}
	}
}

func listKind(element kind) kind {
	list := kind{name: "list of " + element.name, expected: "a comma-separated list", plain: element.plain, opaque: element.opaque}
	if element.expected != "" {
		list.expected += ", each " + element.expected
	}
	return list
}
