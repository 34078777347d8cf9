package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// Text is one file of the configuration as it is kept elsewhere.
type Text struct {
	Path string // "broker.yaml", or "conf.d/" and a name, whatever they are called here
	Text string
}

const (
	mainText = "broker.yaml"
	confText = "conf.d/"
)

const opRestore = "restore the configuration"

// Texts reads the files of the configuration, as they are on the disk now. What is
// wrong there is an error of KindConflict: nobody could restore it.
func (l *Loaded) Texts() ([]Text, error) {
	var all []Text
	now, err := l.Reload() // a change may not be in force yet
	if err != nil {
		return nil, &token.Error{
			Kind: token.KindConflict, Op: "read the configuration", Err: err,
			Detail: "The configuration on the disk is not right, and the broker goes on with an older one; `broker config check` says why. Mend it, or leave the configuration out.",
		}
	}
	for _, file := range now.Files {
		data, err := readFile(file)
		if err != nil {
			return nil, &token.Error{
				Kind: token.KindInternal, Op: "read the configuration", Err: err,
				Detail: fmt.Sprintf("%s cannot be read (%s); mend that, or leave the configuration out.", file, reason(err)),
			}
		}
		path := mainText
		if file != l.Places.ConfigFile {
			path = confText + filepath.Base(file)
		}
		all = append(all, Text{Path: path, Text: string(data)})
	}
	return all, nil
}

// Present lists the files of the configuration that are on the disk.
func (o Options) Present() ([]string, error) {
	places, err := o.Places()
	if err != nil {
		return nil, err
	}
	var all []string
	if _, err := os.Lstat(places.ConfigFile); !errors.Is(err, fs.ErrNotExist) {
		all = append(all, places.ConfigFile)
	}
	return append(all, newReader(o.withGOOS().GOOS).dropIns(o, places.ConfDir)...), nil
}

// saved is the name under which Restore keeps a file that it replaces.
const saved = ".bak"

// Restore writes a configuration from elsewhere to the places of these options,
// for the owner only. It is checked as a whole before anything is written: what is
// wrong is an *Error, as Load and Ready give it. Where other files are there already
// the error is of KindConflict, unless replace is set: they are then kept under their
// names with .bak, and none of them is in force any more. A file that is the same
// already is left alone, so that a Restore that was cut short is finished by another.
//
// The main file goes first and comes last, so that one that is there is whole. What
// fails is taken back.
func Restore(o Options, texts []Text, replace bool) (written []string, err error) {
	steps, written, err := o.restoring(texts, replace)
	if err != nil {
		return nil, err
	}
	for i, s := range steps {
		err := s.do()
		if err == nil {
			continue
		}
		for _, done := range slices.Backward(steps[:i]) {
			err = errors.Join(err, done.undo())
		}
		return nil, err
	}
	return written, nil
}

// step is one change on the disk.
type step struct{ do, undo func() error }

// restoring is what Restore does, in order, and which files that writes.
func (o Options) restoring(texts []Text, replace bool) (steps []step, written []string, err error) {
	inTheWay, err := o.InTheWay(texts)
	switch {
	case err != nil:
		return nil, nil, err
	case len(inTheWay) > 0 && !replace:
		return nil, nil, token.NewError(token.KindConflict, opRestore, fmt.Sprintf("There is a configuration already, with %s.", inTheWay[0]))
	}
	places, err := o.Places()
	if err != nil {
		return nil, nil, err
	}
	o.replace = map[string][]byte{}
	for _, path := range inTheWay {
		o.replace[path] = nil
		steps = append(steps, step{func() error { return putAside(path) }, func() error { return os.Rename(path+saved, path) }})
	}
	for _, t := range texts {
		path := t.in(places)
		o.replace[path] = []byte(t.Text)
		if !t.isAt(path) {
			written = append(written, path)
		}
	}
	slices.SortFunc(written, func(x, y string) int { return lastIs(places.ConfigFile, x) - lastIs(places.ConfigFile, y) })
	for _, path := range written {
		steps = append(steps, step{func() error { return writeOwnerOnly(path, o.replace[path]) }, func() error { return ownerfile.Remove(path) }})
	}
	l, err := Load(o)
	if err == nil {
		err = l.Ready()
	}
	return steps, written, err
}

// InTheWay lists the files of the configuration that are on the disk and are not
// the same in texts.
func (o Options) InTheWay(texts []Text) ([]string, error) {
	places, err := o.Places()
	if err != nil {
		return nil, err
	}
	present, err := o.Present()
	return slices.DeleteFunc(present, func(path string) bool {
		return slices.ContainsFunc(texts, func(t Text) bool { return t.in(places) == path && t.isAt(path) })
	}), err
}

// in is where the file belongs.
func (t Text) in(p Places) string {
	if t.Path == mainText {
		return p.ConfigFile
	}
	return filepath.Join(p.ConfDir, filepath.Base(filepath.FromSlash(t.Path)))
}

// isAt reports whether this is what stands in a file.
func (t Text) isAt(path string) bool {
	data, err := readFile(path)
	return err == nil && string(data) == t.Text
}

func lastIs(last, path string) int {
	if path == last {
		return 1
	}
	return 0
}

// putAside renames a file, and removes what had the new name before.
func putAside(path string) error {
	err := ownerfile.Remove(path + saved)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(path, path+saved)
	}
	if err == nil {
		err = ownerfile.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return writeError(opRestore, path+saved, err)
	}
	return nil
}
