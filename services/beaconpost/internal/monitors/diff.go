package monitors

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// difference is a setting that is not the same. A nil is none.
type difference struct {
	path     string
	old, new any
}

// compare gives what differs, in order of paths. Objects are looked into, lists are not.
func compare(old, wanted map[string]any, path string) []difference {
	var found []difference
	keys := slices.Collect(maps.Keys(old))
	for key := range wanted {
		if _, ok := old[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		before, was := old[key].(map[string]any)
		after, is := wanted[key].(map[string]any)
		switch {
		case was && is:
			found = append(found, compare(before, after, join(path, key))...)
		case !reflect.DeepEqual(old[key], wanted[key]):
			found = append(found, difference{join(path, key), old[key], wanted[key]})
		}
	}
	return found
}

// describe gives "path: old -> new" without showing secrets.
func (f difference) describe(secret func(path string) bool) string {
	show := func(value any) string {
		switch {
		case value == nil:
			return "(none)"
		case value == hidden || secret(f.path):
			return "(secret)"
		default:
			return shown(value)
		}
	}
	return fmt.Sprintf("%s: %s -> %s", printable(f.path), show(f.old), show(f.new))
}

const maxShown = 100 // characters of a value

// shown gives a JSON value on a line.
func shown(value any) string {
	text, ok := value.(string)
	if !ok {
		raw, _ := json.Marshal(value) // came from JSON
		text = string(raw)
	}
	if runes := []rune(text); len(runes) > maxShown {
		text = string(runes[:maxShown]) + "…"
	}
	if text == "" {
		return `""`
	}
	return printable(text)
}

// printable quotes a text that could steer a terminal, or would not be on one line.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return strconv.Quote(text)
	}
	return text
}

// target says in a word what a monitor looks at.
func target(d document) string {
	if address := d.text("url"); address != "" {
		return address
	}
	if expected, ok := d["expected"].(map[string]any); ok {
		return strings.TrimSpace(document(expected).text("every") + document(expected).text("cron") + document(expected).text("on_calendar"))
	}
	host := d.text("host")
	if port, ok := d["port"].(json.Number); ok && d.text("kind") != "dns" {
		host += ":" + port.String()
	}
	return strings.TrimSpace(host + " " + d.text("record_type"))
}
