package tiltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
)

// evaluation is what was said so far.
type evaluation struct {
	host       Host
	result     *Result
	objects    []chart.Object
	configured []configuration
}

// configuration is a call of k8s_resource.
type configuration struct {
	workload, name        string
	objects, deps, labels []string
	forwards              map[int]int
}

type builtin = func(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error)

func (e *evaluation) builtins() starlark.StringDict {
	all := starlark.StringDict{"TRIGGER_MODE_MANUAL": starlark.String("manual")}
	add := func(into starlark.StringDict, functions map[string]builtin) {
		for name, f := range functions {
			into[name] = starlark.NewBuiltin(name, func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
				v, err := f(args, kwargs)
				if err == nil && v == nil {
					v = starlark.None
				}
				return v, err
			})
		}
	}
	add(all, map[string]builtin{
		"local": e.local, "helm": e.helm, "k8s_context": e.k8sContext, "allow_k8s_contexts": ignored("allow_k8s_contexts", "contexts"),
		"read_file": e.readFile, "read_yaml": e.readYAML, "read_yaml_stream": e.readYAMLStream, "decode_yaml_stream": decodeYAMLStream,
		"encode_yaml": encodeYAML, "encode_yaml_stream": encodeYAMLStream,
		"local_resource": e.localResource, "docker_build": e.dockerBuild, "sync": step("sync", "local_path", "remote_path"), "run": step("run", "cmd"),
		"k8s_yaml": e.k8sYAML, "k8s_resource": e.k8sResource, "port_forward": portForward, "link": ignored("link", "url", "name"),
	})
	config, path := starlark.StringDict{}, starlark.StringDict{}
	add(config, map[string]builtin{"define_bool": ignored("define_bool", "name", "args?", "usage?"), "parse": e.parse})
	add(path, map[string]builtin{"exists": e.exists})
	all["config"] = structOf("config", config)
	all["os"] = structOf("os", starlark.StringDict{"path": structOf("path", path)})
	return all
}

// ignored takes arguments and does nothing.
func ignored(name string, parameters ...string) builtin {
	return func(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		_, err := texts(name, args, kwargs, parameters...)
		return nil, err
	}
}

// texts unpacks arguments of any type, those that are absent being None.
func texts(name string, args starlark.Tuple, kwargs []starlark.Tuple, parameters ...string) ([]starlark.Value, error) {
	values := make([]starlark.Value, len(parameters))
	var pairs []any
	for i, p := range parameters {
		values[i] = starlark.None
		pairs = append(pairs, p, &values[i])
	}
	return values, starlark.UnpackArgs(name, args, kwargs, pairs...)
}

// list gives the texts of a list, of one, or of none.
func list(v starlark.Value) []string {
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return nil
	case starlark.String:
		return []string{string(v)}
	}
	var all []string
	for _, item := range items(v) {
		word, ok := starlark.AsString(item)
		if !ok {
			word = item.String()
		}
		all = append(all, word)
	}
	return all
}

// items gives what is in a list, and nothing of what is none.
func items(v starlark.Value) []starlark.Value {
	iterable, ok := v.(starlark.Iterable)
	if !ok {
		return nil
	}
	return slices.Collect(starlark.Elements(iterable))
}

func text(v starlark.Value) string {
	s, _ := starlark.AsString(v)
	return s
}

func (e *evaluation) parse(starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	d := &starlark.Dict{}
	for name, value := range e.host.Flags {
		if err := d.SetKey(starlark.String(name), starlark.Bool(value)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (e *evaluation) exists(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("exists", args, kwargs, "path")
	return starlark.Bool(err == nil && e.host.Exists(text(v[0]))), err
}

func (e *evaluation) k8sContext(starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	return starlark.String(e.host.Context), nil
}

func (e *evaluation) local(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("local", args, kwargs, "command", "quiet?")
	if err != nil {
		return nil, err
	}
	return starlark.String(""), e.host.Local(strings.Join(list(v[0]), " "))
}

func (e *evaluation) helm(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("helm", args, kwargs, "paths", "name?", "namespace?", "values?", "set?")
	if err != nil {
		return nil, err
	}
	manifests, err := e.host.Helm(text(v[0]), text(v[1]), text(v[2]), list(v[3]))
	if err != nil {
		return nil, err
	}
	return inNamespace(manifests, v[2])
}

// inNamespace says of each object which namespace it is in: Helm leaves that to whoever applies it, Tilt does not.
func inNamespace(manifests string, namespace starlark.Value) (starlark.Value, error) {
	objects, err := decodeYAMLStream(starlark.Tuple{starlark.String(manifests)}, nil)
	if err != nil {
		return nil, err
	}
	for _, o := range items(objects) {
		metadata, err := member(o, "metadata")
		if err != nil {
			return nil, err
		}
		if err := metadata.SetKey(starlark.String("namespace"), namespace); err != nil {
			return nil, err
		}
	}
	return encodeYAMLStream(starlark.Tuple{objects}, nil)
}

// member gives a dictionary in a dictionary.
func member(v starlark.Value, key string) (*starlark.Dict, error) {
	outer, ok := v.(*starlark.Dict)
	if !ok {
		return nil, fmt.Errorf("expected an object, got %s", v.Type())
	}
	value, _, err := outer.Get(starlark.String(key))
	if err != nil {
		return nil, err
	}
	inner, ok := value.(*starlark.Dict)
	if !ok {
		return nil, fmt.Errorf("an object has no %s", key)
	}
	return inner, nil
}

func (e *evaluation) path(v starlark.Value) string { return filepath.Join(e.host.Dir, text(v)) }

func (e *evaluation) readFile(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("read_file", args, kwargs, "paths")
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(e.path(v[0]))
	return starlark.String(content), err
}

func (e *evaluation) readYAMLStream(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	content, err := e.readFile(args, kwargs)
	if err != nil {
		return nil, err
	}
	return decodeYAMLStream(starlark.Tuple{content}, nil)
}

func (e *evaluation) readYAML(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	stream, err := e.readYAMLStream(args, kwargs)
	if err != nil {
		return nil, err
	}
	documents := items(stream)
	if len(documents) != 1 {
		return nil, fmt.Errorf("read_yaml: expected one document, got %d", len(documents))
	}
	return documents[0], nil
}

func decodeYAMLStream(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("decode_yaml_stream", args, kwargs, "yaml")
	if err != nil {
		return nil, err
	}
	var all []starlark.Value
	for document := range strings.SplitSeq("\n"+text(v[0]), "\n---\n") {
		encoded, err := yaml.ToJSON([]byte(document))
		if err != nil {
			return nil, err
		}
		decoded, err := starlark.Call(&starlark.Thread{}, json.Module.Members["decode"], starlark.Tuple{starlark.String(encoded)}, nil)
		if err != nil {
			return nil, err
		}
		if decoded != starlark.None {
			all = append(all, decoded)
		}
	}
	return starlark.NewList(all), nil
}

func encodeYAML(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("encode_yaml", args, kwargs, "obj")
	if err != nil {
		return nil, err
	}
	encoded, err := starlark.Call(&starlark.Thread{}, json.Module.Members["encode"], starlark.Tuple{v[0]}, nil)
	if err != nil {
		return nil, err
	}
	document, err := sigsyaml.JSONToYAML([]byte(text(encoded)))
	return starlark.String(document), err
}

func encodeYAMLStream(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("encode_yaml_stream", args, kwargs, "objs")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, o := range items(v[0]) {
		document, err := encodeYAML(starlark.Tuple{o}, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, text(document))
	}
	return starlark.String(strings.Join(all, "---\n")), nil
}

// k8sYAML takes names of files, and texts, which have more than one line.
func (e *evaluation) k8sYAML(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("k8s_yaml", args, kwargs, "yaml")
	if err != nil {
		return nil, err
	}
	for _, manifests := range list(v[0]) {
		if !strings.Contains(manifests, "\n") {
			content, err := os.ReadFile(filepath.Join(e.host.Dir, manifests))
			if err != nil {
				return nil, err
			}
			manifests = string(content)
		}
		objects, err := chart.Decode(manifests)
		if err != nil {
			return nil, err
		}
		e.objects = append(e.objects, objects...)
	}
	return nil, nil
}

func (e *evaluation) localResource(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("local_resource", args, kwargs, "name", "cmd?", "deps?", "trigger_mode?", "resource_deps?", "ignore?", "auto_init?", "serve_cmd?", "allow_parallel?", "links?", "labels?")
	if err != nil {
		return nil, err
	}
	r := &Resource{
		Name: text(v[0]), Cmd: text(v[1]), Sources: list(v[2]), Deps: list(v[4]), ServeCmd: text(v[7]), Labels: list(v[10]),
		OnlyByButton: v[3] == starlark.String("manual") && v[6] == starlark.False,
	}
	if e.result.Resources[r.Name] != nil {
		return nil, fmt.Errorf("local_resource %s is there twice", r.Name)
	}
	e.result.Resources[r.Name] = r
	return nil, nil
}

// step gives a step of a live update as one text.
func step(name string, parameters ...string) builtin {
	return func(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		v, err := texts(name, args, kwargs, parameters...)
		words := []string{name}
		for _, word := range v {
			words = append(words, text(word))
		}
		return starlark.String(strings.Join(words, "\x00")), err
	}
}

func (e *evaluation) dockerBuild(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("docker_build", args, kwargs, "ref", "context", "dockerfile?", "only?", "live_update?")
	if err != nil {
		return nil, err
	}
	image := Image{Context: text(v[1]), Dockerfile: text(v[2]), Only: list(v[3]), Sync: map[string]string{}}
	for _, s := range list(v[4]) {
		switch words := strings.Split(s, "\x00"); {
		case words[0] == "run":
			image.Run = append(image.Run, words[1])
		case len(image.Run) > 0:
			return nil, errors.New("sync after run")
		default:
			image.Sync[words[1]] = words[2]
		}
	}
	e.result.Images[text(v[0])] = image
	return nil, nil
}

func portForward(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("port_forward", args, kwargs, "local_port", "container_port?", "name?", "link_path?", "host?")
	if err != nil {
		return nil, err
	}
	if v[1] == starlark.None {
		v[1] = v[0]
	}
	return starlark.String(v[0].String() + ":" + v[1].String()), nil
}

func (e *evaluation) k8sResource(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := texts("k8s_resource", args, kwargs, "workload?", "new_name?", "port_forwards?", "extra_pod_selectors?", "trigger_mode?", "resource_deps?", "objects?", "auto_init?", "pod_readiness?", "links?", "labels?")
	if err != nil {
		return nil, err
	}
	c := configuration{workload: text(v[0]), name: text(v[1]), deps: list(v[5]), objects: list(v[6]), labels: list(v[10]), forwards: map[int]int{}}
	for _, f := range list(v[2]) {
		here, there, _ := strings.Cut(f, ":")
		from, err := strconv.Atoi(here)
		if err != nil {
			return nil, err
		}
		if c.forwards[from], err = strconv.Atoi(there); err != nil {
			return nil, err
		}
	}
	e.configured = append(e.configured, c)
	return nil, nil
}
