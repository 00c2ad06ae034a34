// Package config reads a service's configuration from environment variables, once, at start.
//
// It owns the prefix BEACONPOST_, the reporting of all problems together, the refusal of unknown variables, and the types
// Secret and ByteSize. It does not own any variable: each package declares a struct with its own, a service nests those
// structs in its Config, and passes the values down.
//
// A field is a variable when it has an env tag. Tags: env:"NAME" or env:"NAME,required" (without the prefix), envDefault,
// doc (one sentence for operators), envSeparator for lists. A nested struct without an env tag is descended into, its
// envPrefix tag put in front of its names. A variable that is set but empty counts as not set.
package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Prefix starts the name of every variable.
const Prefix = "BEACONPOST_"

// testPrefix starts the names of variables that only tests read.
const testPrefix = Prefix + "TEST_"

// Validator is a configuration struct with rules that tags cannot state. Load calls Validate on every struct in the tree
// that has it and whose variables, nested ones included, could all be read. Use Invalid to name the variable at fault.
type Validator interface {
	Validate() []error
}

// Load fills the struct that into points to from environ ("NAME=value", as os.Environ gives it). Fields whose variable is
// not set keep their value unless they have a default. The error is an *Error with every problem found.
//
// A variable that starts with the prefix and is neither a field nor in alsoKnown is a problem. alsoKnown has full names
// (see Names), and patterns that end in "*", for what other services read from the same environment. BEACONPOST_TEST_*
// is ignored, and so is what Kubernetes sets for a Service whose name starts with "beaconpost".
func Load(environ []string, into any, alsoKnown []string) error {
	root := reflect.ValueOf(into)
	if root.Kind() != reflect.Pointer || root.IsNil() || root.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("load configuration: %T is not a pointer to a struct", into)
	}
	l := loader{vars: nonEmpty(environ), seen: map[string]bool{}}
	fields, structs := walk(root.Elem(), Prefix)
	for _, f := range fields {
		l.set(f)
	}
	l.validate(structs)
	l.refuseUnknown(names(fields), alsoKnown)
	if len(l.problems) > 0 {
		return &Error{Problems: l.problems}
	}
	return nil
}

// loader collects the problems of one Load.
type loader struct {
	vars     map[string]string
	problems []Problem
	seen     map[string]bool // variables that have a problem already
}

func (l *loader) report(variable, message string) {
	l.seen[variable] = true
	l.problems = append(l.problems, Problem{Variable: variable, Message: message})
}

// set parses one field on its own, because the library's errors do not say which variable they are about.
func (l *loader) set(f field) {
	decl := reflect.StructField{Name: f.decl.Name, Type: f.decl.Type, Tag: f.decl.Tag}
	one := reflect.New(reflect.StructOf([]reflect.StructField{decl})).Elem()
	one.Field(0).Set(f.value)
	err := env.ParseWithOptions(one.Addr().Interface(), env.Options{Environment: l.vars, Prefix: f.prefix})
	if err != nil {
		l.report(f.name(), f.explain(err, l.vars[f.name()]))
		return
	}
	f.value.Set(one.Field(0))
}

// validate skips a struct that has a problem already: what it would say may only follow from that.
func (l *loader) validate(structs []section) {
	for _, s := range structs {
		if slices.ContainsFunc(s.fields, func(f field) bool { return l.seen[f.name()] }) {
			continue
		}
		for _, err := range s.problems() {
			if p, ok := errors.AsType[*Problem](err); ok && p.Variable != "" {
				l.report(s.prefix+p.Variable, p.Message)
				continue
			}
			l.report("", err.Error())
		}
	}
}

func nonEmpty(environ []string) map[string]string {
	vars := make(map[string]string, len(environ))
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if value != "" && strings.HasPrefix(name, Prefix) {
			vars[name] = value
		}
	}
	return vars
}
