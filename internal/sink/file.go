package sink

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// fault is why a path cannot be a token file.
type fault struct {
	path, what string
	err        error
}

// Error names the path and what to do.
func (f *fault) Error() string { return f.path + " " + f.what }

// Unwrap is the error of the file system.
func (f *fault) Unwrap() error { return f.err }

// check says why a path cannot be a token file. A file that is there must be
// empty, as it may have been made beforehand for the program that reads it, or
// be ours.
func check(path string, ours bool) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	switch {
	case !filepath.IsAbs(path):
		return &fault{path, "is not an absolute path; write it in full", nil}
	case errors.Is(err, fs.ErrNotExist):
		return &fault{path, "is in a directory that does not exist; make " + dir + ", or name another file", err}
	case err != nil:
		return &fault{path, "is in a directory that the broker cannot look at; let it, or name another file", err}
	case !info.IsDir():
		return &fault{path, "is not in a directory, as " + dir + " is a file; name another file", nil}
	case othersMayReplace(info):
		return &fault{path, "is in a directory in which every user may replace it; take that right away (chmod o-w " + dir + "), or name another file", nil}
	}
	switch info, err = os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &fault{path, "cannot be looked at; name another file", err}
	case info.Mode()&fs.ModeSymlink != 0:
		return &fault{path, "is a symbolic link; name the file itself", nil}
	case !info.Mode().IsRegular():
		return &fault{path, "is not a file; name another one", nil}
	case info.Size() > 0 && !ours:
		return &fault{path, "is there already, and no token file of this broker; delete it, or name another file", nil}
	}
	return nil
}

// othersMayReplace reports whether any user may rename a file of ours in this
// directory. On Windows that is the business of its access list, and the file has
// its own against readers.
func othersMayReplace(dir fs.FileInfo) bool {
	return runtime.GOOS != "windows" && dir.Mode().Perm()&0o002 != 0 && dir.Mode()&fs.ModeSticky == 0
}

// write puts a token into the file. It is listed as ours first, so that no crash
// leaves a token where nobody looks for it.
func (k *keeping) write(cur Current) error {
	if err := check(k.file.Path, k.there); err != nil {
		return err
	}
	if err := k.list.add(k.file.Path); err != nil {
		return err
	}
	text := content(k.file.Format, cur)
	err := ownerfile.WriteOwned(k.file.Path, text)
	clear(text)
	if err != nil {
		return err
	}
	k.held, k.there = cur, true
	return nil
}

// stands reports whether the file that was written is there.
func (k *keeping) stands() bool {
	info, err := os.Lstat(k.file.Path)
	return k.there && err == nil && info.Mode().IsRegular() && info.Size() > 0
}

// content is what stands in a file.
func content(format config.SinkFormat, cur Current) []byte {
	switch format {
	case config.SinkJSON:
		return []byte(cur.JSON.Reveal() + "\n")
	case config.SinkHeader:
		return []byte("Authorization: Bearer " + cur.Access.Reveal() + "\n")
	default:
		return []byte(cur.Access.Reveal() + "\n")
	}
}

// remove removes the file where it is ours.
func (k *keeping) remove() error {
	if !k.there {
		return nil
	}
	if err := k.list.remove(k.file.Path); err != nil {
		return err
	}
	k.held, k.there = Current{}, false
	return nil
}

// ownList is the list of the files that are ours. It is safe for concurrent use.
type ownList struct {
	path string
	mu   sync.Mutex
}

// listed is its form on disk.
type listed struct {
	Files []string `json:"files"`
}

// all reads the list.
func (l *ownList) all() ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.read()
}

func (l *ownList) read() ([]string, error) {
	data, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var in listed
	if err == nil {
		err = json.Unmarshal(data, &in)
	}
	return in.Files, err
}

// has reports whether a file is ours; where that cannot be read, none is.
func (l *ownList) has(path string) bool {
	files, _ := l.all()
	return slices.Contains(files, path)
}

// add puts a file on the list.
func (l *ownList) add(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	files, err := l.read()
	if err != nil || slices.Contains(files, path) {
		return err
	}
	return l.save(append(files, path))
}

// remove removes a file of ours, and then takes it off the list. A file that is
// something else by now stays.
func (l *ownList) remove(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
		if err := ownerfile.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	files, err := l.read()
	if err != nil {
		return err
	}
	return l.save(slices.DeleteFunc(files, func(f string) bool { return f == path }))
}

func (l *ownList) save(files []string) error {
	if len(files) == 0 {
		if err := ownerfile.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.Marshal(listed{Files: files})
	if err != nil {
		return err
	}
	return ownerfile.Write(l.path, append(data, '\n'))
}

// removeLeftovers removes what a killed process left of a write of this file.
func removeLeftovers(path string) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return // with the directory they are gone too, or out of reach
	}
	for _, e := range entries {
		if of, ok := ownerfile.Leftover(e.Name()); ok && of == filepath.Base(path) && e.Type().IsRegular() {
			_ = os.Remove(filepath.Join(filepath.Dir(path), e.Name())) // tried again at the next start
		}
	}
}

// samePath is a path in the form in which two are compared.
func samePath(path string) string {
	path = filepath.Clean(path)
	if runtime.GOOS == "windows" {
		return strings.ToLower(path)
	}
	return path
}
