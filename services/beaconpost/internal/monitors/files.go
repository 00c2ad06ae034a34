package monitors

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const stdinName = "<stdin>"

// file is what was read, under the name that errors tell.
type file struct {
	name string
	body []byte
}

// readFiles reads what paths name: files, directories (not what is below them), or - for standard input.
func readFiles(paths []string, stdin io.Reader) ([]file, error) {
	var files []file
	for _, path := range paths {
		found, err := readPath(path, stdin)
		if err != nil {
			return nil, fmt.Errorf("read monitors: %w", err)
		}
		files = append(files, found...)
	}
	return files, nil
}

func readPath(path string, stdin io.Reader) ([]file, error) {
	if path == "-" {
		body, err := io.ReadAll(stdin)
		return []file{{stdinName, body}}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return readDir(path)
	}
	body, err := os.ReadFile(path)
	return []file{{path, body}}, err
}

func readDir(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	var files []file
	for _, entry := range entries {
		known := slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name()))
		if entry.IsDir() || !known || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		body, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, file{path, body})
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no *.yaml, *.yml or *.json", dir)
	}
	return files, nil
}
