package auth

import (
	"errors"
	"os"
	"path/filepath"
)

// writeFile writes text to a temporary file beside path and lets place (os.Rename or os.Link) give it its name, so that
// nobody ever reads a part of it.
func writeFile(path string, text []byte, mode os.FileMode, place func(from, to string) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // gone already after a rename
	_, err = tmp.Write(text)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return place(tmp.Name(), path)
}
