// Package section puts what a program found out into a part of a page of the documentation.
package section

import (
	"fmt"
	"os"
	"strings"
)

// Write replaces what is between two lines of a file, each of which is there once.
func Write(file, begins, ends, text string) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, begun := strings.Cut(string(page), begins)
	_, tail, ended := strings.Cut(rest, ends)
	if !begun || !ended {
		return fmt.Errorf("%s has no part from %q to %q", file, begins, ends)
	}
	return os.WriteFile(file, []byte(head+begins+"\n"+text+ends+tail), 0o644) //nolint:gosec // as it was
}
