// Package tiltfile evaluates our Tiltfile without Tilt: with the same language, and stand-ins for those of Tilt's functions that it calls, which take the same
// arguments. It does what Tilt 0.37 does with what was said: Services go with the workloads that they select, names of objects have to lead to one that nobody
// has yet, resources that are waited for have to exist. Nothing is built or started.
package tiltfile

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
)

// Host is what a Tiltfile asks of the machine that it is evaluated on.
type Host struct {
	Dir     string          // of the Tiltfile
	Context string          // of kubectl
	Flags   map[string]bool // what follows `tilt up --`
	// Helm is `helm template`.
	Helm func(dir, name, namespace string, values []string) (string, error)
	// Local runs a command.
	Local func(command string) error
	// Exists says whether a path below Dir is there.
	Exists func(path string) bool
}

// Resource is a line of Tilt's page.
type Resource struct {
	Name          string
	Objects       []chart.Object
	Deps          []string
	Forwards      map[int]int // ports of this machine → of the container
	Labels        []string
	Cmd, ServeCmd string
	Sources       []string
	OnlyByButton  bool
}

// Pod gives the template of the resource's workload, or nil.
func (r *Resource) Pod() *core.PodTemplateSpec {
	for _, o := range r.Objects {
		if pod := podOf(o); pod != nil {
			return pod
		}
	}
	return nil
}

// Image is what docker_build was told.
type Image struct {
	Context, Dockerfile string
	Only                []string
	Sync                map[string]string
	Run                 []string
}

// Result is what a Tiltfile says.
type Result struct {
	Resources map[string]*Resource
	Images    map[string]Image
}

// Load evaluates the Tiltfile.
func Load(h Host) (*Result, error) {
	e := &evaluation{host: h, result: &Result{Resources: map[string]*Resource{}, Images: map[string]Image{}}}
	options := &syntax.FileOptions{Set: true, GlobalReassign: true, Recursion: true, TopLevelControl: true, While: true} // as Tilt
	_, err := starlark.ExecFileOptions(options, &starlark.Thread{Name: "Tiltfile"}, filepath.Join(h.Dir, "Tiltfile"), nil, e.builtins())
	if evaluated, ok := errors.AsType[*starlark.EvalError](err); ok {
		return nil, fmt.Errorf("%w\n%s", err, evaluated.Backtrace())
	}
	if err != nil {
		return nil, err
	}
	return e.result, e.assemble()
}

func podOf(o chart.Object) *core.PodTemplateSpec {
	switch w := o.Typed.(type) {
	case *apps.Deployment:
		return &w.Spec.Template
	case *apps.StatefulSet:
		return &w.Spec.Template
	case *batch.Job:
		return &w.Spec.Template
	}
	return nil
}

// assemble makes resources of objects, then does to them what k8s_resource said, in that order.
func (e *evaluation) assemble() error {
	free := map[string]chart.Object{}
	for _, o := range e.objects {
		id := strings.ToLower(o.Name + ":" + o.Kind)
		if _, ok := free[id]; ok {
			return fmt.Errorf("%s is there twice", id)
		}
		free[id] = o
	}
	for _, o := range e.objects {
		if podOf(o) != nil {
			if e.result.Resources[o.Name] != nil {
				return fmt.Errorf("two resources would be called %s", o.Name)
			}
			e.result.Resources[o.Name] = &Resource{Name: o.Name, Objects: append(e.selecting(o, free), o)}
			delete(free, strings.ToLower(o.Name+":"+o.Kind))
		}
	}
	for _, c := range e.configured {
		if err := e.configure(c, free); err != nil {
			return err
		}
	}
	if len(free) > 0 {
		return fmt.Errorf("objects are in no resource: %v", slices.Sorted(maps.Keys(free)))
	}
	for _, r := range e.result.Resources {
		for _, dep := range r.Deps {
			if e.result.Resources[dep] == nil {
				return fmt.Errorf("%s waits for %s, which does not exist", r.Name, dep)
			}
		}
	}
	return nil
}

// selecting takes the Services that select a workload out of those that are free.
func (e *evaluation) selecting(workload chart.Object, free map[string]chart.Object) []chart.Object {
	var found []chart.Object
	for _, id := range slices.Sorted(maps.Keys(free)) {
		o := free[id]
		if s, ok := o.Typed.(*core.Service); ok && o.Namespace == workload.Namespace && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(podOf(workload).Labels)) {
			found = append(found, o)
			delete(free, id)
		}
	}
	return found
}

func (e *evaluation) configure(c configuration, free map[string]chart.Object) error {
	r := e.result.Resources[c.workload]
	if c.workload == "" {
		r = &Resource{Name: c.name}
	}
	if r == nil {
		return fmt.Errorf("k8s_resource of %s, which is no workload", c.workload)
	}
	for _, selector := range c.objects {
		o, ok := free[strings.ToLower(selector)]
		if !ok {
			return fmt.Errorf("%s: there is no object %s, or another resource has it", r.Name, selector)
		}
		delete(free, strings.ToLower(selector))
		r.Objects = append(r.Objects, o)
	}
	if c.name != "" {
		delete(e.result.Resources, r.Name)
		if e.result.Resources[c.name] != nil {
			return fmt.Errorf("two resources would be called %s", c.name)
		}
		r.Name = c.name
		e.result.Resources[c.name] = r
	}
	r.Deps, r.Forwards, r.Labels = append(r.Deps, c.deps...), c.forwards, append(r.Labels, c.labels...)
	return nil
}

// structOf is a module of Starlark.
func structOf(name string, members starlark.StringDict) *starlarkstruct.Module {
	return &starlarkstruct.Module{Name: name, Members: members}
}
