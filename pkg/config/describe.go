package config

import "reflect"

// Variable describes one variable for an operator.
type Variable struct {
	Name     string // with the prefix
	Type     string // "duration", "size", "secret", "list of text", …
	Default  string // "" if there is none; never a secret
	Required bool
	Doc      string
}

// Describe lists the variables of v, a configuration struct or a pointer to one, in the order of declaration. Values
// already in v are defaults.
func Describe(v any) []Variable {
	fields := fieldsOf(v)
	list := make([]Variable, len(fields))
	for i, f := range fields {
		list[i] = Variable{
			Name: f.name(), Type: kindOf(f.decl.Type).name, Default: f.defaultText(),
			Required: f.required(), Doc: f.decl.Tag.Get("doc"),
		}
		if f.decl.Type == reflect.TypeFor[Secret]() {
			list[i].Default = ""
		}
	}
	return list
}

// Names lists the names of v's variables, for another service's alsoKnown.
func Names(v any) []string { return names(fieldsOf(v)) }

func fieldsOf(v any) []field {
	root := reflect.Indirect(reflect.ValueOf(v))
	fields, _ := walk(addressable(root), Prefix)
	return fields
}

// addressable gives a copy, because walk takes addresses and v may be a plain struct.
func addressable(v reflect.Value) reflect.Value {
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}
