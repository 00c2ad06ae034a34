package httpapi

import (
	"bytes"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

const docsTemplate = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h2{margin-top:2.5rem;text-transform:capitalize} code{background:#f2f2f2;padding:.1em .3em;border-radius:3px}
dt{margin-top:1rem} dt b{display:inline-block;min-width:4.5rem} dd{margin-left:0;color:#444;white-space:pre-line}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}code{background:#2a2a2a}dd{color:#aaa}a{color:#8ab4f8}}
</style>
<h1>{{.Title}} <small>{{.Version}}</small></h1>
<p>Send <code>Authorization: Bearer …</code> with an API key or a JWT. Errors are <code>application/problem+json</code>.
The <a href="{{.Spec}}">OpenAPI 3.1 document</a> describes every field.</p>
{{range .Tags}}<h2>{{.Name}}</h2><dl>
{{range .Operations}}<dt><b>{{.Method}}</b> <code>{{.Path}}</code> {{.Summary}}</dt><dd>{{.Description}}</dd>
{{end}}</dl>{{end}}</html>
`

type docsTag struct {
	Name       string
	Operations []*huma.Operation
}

// docsPage renders the operations as one page that needs no script and no other host.
func docsPage(api *huma.OpenAPI, specPath string) ([]byte, error) {
	byTag := map[string][]*huma.Operation{}
	for _, item := range api.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				byTag[op.Tags[0]] = append(byTag[op.Tags[0]], op)
			}
		}
	}
	var tags []docsTag
	for name, ops := range byTag {
		slices.SortFunc(ops, func(a, b *huma.Operation) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
		tags = append(tags, docsTag{name, ops})
	}
	slices.SortFunc(tags, func(a, b docsTag) int { return strings.Compare(a.Name, b.Name) })
	page, err := template.New("docs").Parse(docsTemplate)
	if err != nil {
		return nil, fmt.Errorf("parse docs template: %w", err)
	}
	var out bytes.Buffer
	err = page.Execute(&out, map[string]any{"Title": api.Info.Title, "Version": api.Info.Version, "Spec": specPath, "Tags": tags})
	if err != nil {
		return nil, fmt.Errorf("render docs: %w", err)
	}
	return out.Bytes(), nil
}
