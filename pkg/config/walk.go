package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// field is one variable: the struct field it is read into.
type field struct {
	prefix string // everything in front of the name in the env tag
	decl   reflect.StructField
	value  reflect.Value
}

// section is one struct of the tree.
type section struct {
	prefix string
	value  reflect.Value
	fields []field // its variables, those of nested structs included
}

func (f field) name() string { return f.prefix + f.ownName() }

func (f field) ownName() string {
	own, _, _ := strings.Cut(f.decl.Tag.Get("env"), ",")
	return own
}

func (f field) required() bool {
	_, options, _ := strings.Cut(f.decl.Tag.Get("env"), ",")
	return strings.Contains(options, "required") || strings.Contains(options, "notEmpty")
}

// defaultText gives what the field is when its variable is not set: the tag, or else the value already in the struct.
func (f field) defaultText() string {
	if tag, ok := f.decl.Tag.Lookup("envDefault"); ok {
		return tag
	}
	if f.value.IsZero() {
		return ""
	}
	if m, ok := f.value.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	if f.value.Kind() == reflect.Slice {
		return strings.ReplaceAll(strings.Trim(fmt.Sprint(f.value.Interface()), "[]"), " ", ",")
	}
	return fmt.Sprint(f.value.Interface())
}

// walk lists the variables and structs of the tree, in the order of declaration, a struct after its nested ones.
func walk(v reflect.Value, prefix string) (fields []field, structs []section) {
	for i := range v.NumField() {
		decl := v.Type().Field(i)
		f := field{prefix: prefix, decl: decl, value: v.Field(i)}
		switch {
		case !decl.IsExported() || f.ownName() == "-":
		case f.ownName() != "":
			fields = append(fields, f)
		case decl.Type.Kind() == reflect.Struct:
			nested, sections := walk(f.value, prefix+decl.Tag.Get("envPrefix"))
			fields, structs = append(fields, nested...), append(structs, sections...)
		}
	}
	return fields, append(structs, section{prefix: prefix, value: v, fields: fields})
}

func (s section) problems() []error {
	if v, ok := s.value.Addr().Interface().(Validator); ok {
		return v.Validate()
	}
	return nil
}

func names(fields []field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.name()
	}
	return list
}
