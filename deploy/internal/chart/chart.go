// Package chart renders the Helm chart as Helm does, without a cluster, and reads what comes out into the types of the Kubernetes API, strictly: what these
// do not have is an error. It says nothing about what is right.
package chart

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// Name and namespace of the release that is rendered.
const (
	Release   = "shop"
	Namespace = "webhooks"
)

// Values of a release, as a values file has them.
type Values = map[string]any

// Read gives the values of a file.
func Read(path string) (Values, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var values Values
	if err := sigsyaml.UnmarshalStrict(text, &values); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return values, nil
}

// Parse gives the values of a text.
func Parse(text string) (Values, error) {
	var values Values
	err := sigsyaml.UnmarshalStrict([]byte(text), &values)
	return values, err
}

// Over puts the values of the second on those of the first, as a second --values does.
func Over(base, over Values) Values {
	result := maps.Clone(base)
	if result == nil {
		result = Values{}
	}
	for key, value := range over {
		below, isMap := result[key].(map[string]any)
		if above, also := value.(map[string]any); isMap && also {
			result[key] = Over(below, above)
			continue
		}
		result[key] = value
	}
	return result
}

// Lint says what `helm lint --strict` finds.
func Lint(dir string, values Values) []string {
	var problems []string
	for _, message := range lint.RunAll(dir, values, Namespace).Messages {
		if message.Severity >= support.WarningSev {
			problems = append(problems, message.Error())
		}
	}
	return problems
}

// Rendered is what a release consists of.
type Rendered struct {
	Objects []Object
	Notes   string
}

// Object is one manifest.
type Object struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	Text  string // YAML
	Typed any    // a pointer to the API's type
}

// Options are what is not in values.
type Options struct {
	Upgrade         bool   // not the first install
	Name, Namespace string // of the release; empty: Release and Namespace
}

// Render gives what would be installed. A template that reads a value that is not there is an error.
func Render(ctx context.Context, dir string, values Values, o Options) (*Rendered, error) {
	c, err := loader.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	c.SetDependencies() // what `helm dependency build` may have left there is somebody else's
	if err := chartutil.ProcessDependencies(c, common.Values(values)); err != nil {
		return nil, fmt.Errorf("process dependencies: %w", err)
	}
	all, err := util.ToRenderValues(c, values, common.ReleaseOptions{
		Name: cmp.Or(o.Name, Release), Namespace: cmp.Or(o.Namespace, Namespace), Revision: 1, IsInstall: !o.Upgrade, IsUpgrade: o.Upgrade,
	}, nil)
	if err != nil {
		return nil, err
	}
	texts, err := engine.Engine{Strict: true}.RenderWithContext(ctx, c, all)
	if err != nil {
		return nil, err
	}
	rendered := &Rendered{}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if filepath.Base(name) == "NOTES.txt" {
			rendered.Notes += texts[name]
			continue
		}
		objects, err := Decode(texts[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", name, err, texts[name])
		}
		rendered.Objects = append(rendered.Objects, objects...)
	}
	return rendered, nil
}

// Decode reads the manifests of a file, strictly.
func Decode(text string) ([]Object, error) {
	var objects []Object
	for document := range strings.SplitSeq("\n"+text, "\n---") {
		var head struct {
			metav1.TypeMeta `json:",inline"`
			Metadata        metav1.ObjectMeta `json:"metadata"`
		}
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			return nil, err
		}
		if head.Kind == "" {
			if strings.TrimSpace(document) != "" && !onlyComments(document) {
				return nil, errors.New("there is a document without a kind")
			}
			continue
		}
		typed, known := typeOf(head.TypeMeta)
		if !known {
			return nil, fmt.Errorf("nobody has said what a %s of %s looks like", head.Kind, head.APIVersion)
		}
		if err := sigsyaml.UnmarshalStrict([]byte(document), typed); err != nil {
			return nil, fmt.Errorf("%s %s: %w", head.Kind, head.Metadata.Name, err)
		}
		objects = append(objects, Object{TypeMeta: head.TypeMeta, ObjectMeta: head.Metadata, Text: document, Typed: typed})
	}
	return objects, nil
}

func onlyComments(text string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// All gives the objects of a type.
func All[T any](r *Rendered) []*T {
	var list []*T
	for _, o := range r.Objects {
		if typed, ok := o.Typed.(*T); ok {
			list = append(list, typed)
		}
	}
	return list
}

// Find gives the object with a name, or nil.
func Find[T any](r *Rendered, name string) *T {
	for _, o := range r.Objects {
		if typed, ok := o.Typed.(*T); ok && o.Name == name {
			return typed
		}
	}
	return nil
}
