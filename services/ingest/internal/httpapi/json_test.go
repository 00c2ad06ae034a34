package httpapi

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func jsonSeeds() []string {
	return []string{
		``, ` `, `0`, `-0`, `01`, `-`, `1.`, `.5`, `1.5`, `1e`, `1e5`, `1E+5`, `1e-`, `+1`, `1 2`, `00`, `-01`, `1.0e`, `0x1`,
		`"`, `""`, `"a"`, `"\"`, `"\\"`, `"\u00e9"`, `"\u00g9"`, `"\u12"`, `"\x"`, "\"\n\"", "\"\x00\"", "\"\x7f\"", "\"\xff\"", `"é"`, `'a'`,
		`true`, `tru`, `truee`, `false`, `null`, `nul`, `True`, `NaN`,
		`[]`, `[`, `]`, `[1]`, `[1,]`, `[,1]`, `[1 2]`, `[1,2]`, `[[[]]]`, `[[]`, `[}`, `[1}`, `[ 1 , 2 ]`, `[],`, `[]]`,
		`{}`, `{`, `{"a"}`, `{"a":}`, `{"a":1}`, `{"a":1,}`, `{a:1}`, `{"a" : 1 , "b":[{}]}`, `{"a":1]`, `{,}`, `{"a":1 "b":2}`, `{"a"::1}`, `{1:1}`,
		"\ufeff{}", "{}\x00", " \t\r\n{} \t\r\n", "\v{}", strings.Repeat("[", 10000) + strings.Repeat("]", 10000), strings.Repeat("[", 10001) + strings.Repeat("]", 10001),
		strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10000), strings.Repeat(`{"a":`, 10001) + "1" + strings.Repeat("}", 10001), strings.Repeat("[", 1<<20),
	}
}

func validJSON(text []byte) bool {
	_, ok := scanJSON(text, nil)
	return ok
}

func TestMembers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`: ``, ` { } `: ``, `[{"a":1}]`: ``, `"a"`: ``, `1`: ``, `[]`: ``, `[[1],{"a":2}]`: ``,
		`{"a":1}`:                         `"a"=1;`,
		` { "a" : 1 , "b" : [ 1 , 2 ] } `: `"a"=1;"b"=[ 1 , 2 ];`,
		`{"a":{},"b":[],"c":{"d":{"e":[]}},"f":"}","g":null}`: `"a"={};"b"=[];"c"={"d":{"e":[]}};"f"="}";"g"=null;`,
		`{"a\"b":-1.5e3,"a\"b":true}`:                         `"a\"b"=-1.5e3;"a\"b"=true;`,
		`{"a":[{"x":1},{"y":2}],"":""}`:                       `"a"=[{"x":1},{"y":2}];""="";`,
	} {
		members, ok := scanJSON([]byte(text), nil)
		require.True(t, ok, text)
		got := ""
		for _, m := range members {
			got += string(m.name) + "=" + string(m.value) + ";"
		}
		require.Equal(t, want, got, text)
	}
}

func TestValidJSONAgreesWithTheLibrary(t *testing.T) {
	t.Parallel()
	for _, text := range jsonSeeds() {
		require.Equal(t, json.Valid([]byte(text)), validJSON([]byte(text)), "%.60q", text)
	}
}

func FuzzValidJSON(f *testing.F) {
	for _, text := range jsonSeeds() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		members, ok := scanJSON(text, nil)
		require.Equal(t, json.Valid(text), ok)
		var object map[string]json.RawMessage
		if !ok || text[0] != '{' || json.Unmarshal(text, &object) != nil {
			return
		}
		last := map[string]json.RawMessage{} // of equal names the library keeps the last
		for _, m := range members {
			var name string
			require.NoError(t, json.Unmarshal(m.name, &name))
			last[name] = m.value
		}
		require.Equal(t, object, last)
	})
}

func BenchmarkValidJSON(b *testing.B) {
	body := []byte(`{"items":[` + strings.Repeat(`{"sku":"sku-000001","name":"Enamel mug","quantity":3,"price":12.95,"tags":["kitchen","blue"]},`, 150) + `1]}`)
	for name, valid := range map[string]func([]byte) bool{"ours": validJSON, "library": json.Valid} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if !valid(body) {
					b.Fatal("not valid")
				}
			}
		})
	}
}
