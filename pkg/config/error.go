package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Problem is what is wrong with one variable. Variable is "" if the problem concerns several.
type Problem struct {
	Variable string
	Message  string
}

// Error gives variable and message.
func (p *Problem) Error() string {
	if p.Variable == "" {
		return p.Message
	}
	return p.Variable + ": " + p.Message
}

// Invalid gives the error that a Validate method returns for one variable, named as in its struct's env tag.
func Invalid(name, format string, args ...any) error {
	return &Problem{Variable: name, Message: fmt.Sprintf(format, args...)}
}

// Error is every problem of a configuration. It contains no value of a Secret.
type Error struct {
	Problems []Problem
}

// Error gives one problem per line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("configuration:")
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.Error())
	}
	return b.String()
}

// explain turns the library's error about f into what the operator should write instead. value is repeated only where
// the type cannot hold a secret.
func (f field) explain(err error, value string) string {
	if errors.Is(err, env.VarIsNotSetError{}) || errors.Is(err, env.EmptyVarError{}) {
		return strings.TrimSuffix("is required: "+f.decl.Tag.Get("doc"), ": ")
	}
	if _, ok := errors.AsType[env.NoParserError](err); ok {
		return "cannot be read into a " + f.decl.Type.String()
	}
	kind := kindOf(f.decl.Type)
	cause, parsed := errors.AsType[env.ParseError](err)
	switch {
	case kind.plain:
		return fmt.Sprintf("%q is not %s", value, kind.expected)
	case parsed && !kind.opaque:
		return "is not valid: " + cause.Err.Error()
	case kind.expected != "":
		return "must be " + kind.expected
	}
	return "is not valid"
}
