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
// wrong is an *Error, as Load and Ready give it. Where there are files already the
// error is of KindConflict, unless replace is set: they are then kept under their
// names with .bak, and none of them is in force any more.
//
// The main file is written last, so that a configuration that is there is whole.
func Restore(o Options, texts []Text, replace bool) (written []string, err error) {
	places, err := o.Places()
	if err != nil {
		return nil, err
	}
	before, err := o.Present()
	switch {
	case err != nil:
		return nil, err
	case len(before) > 0 && !replace:
		return nil, token.NewError(token.KindConflict, opRestore, fmt.Sprintf("There is a configuration already, with %s.", before[0]))
	}
	o.replace = map[string][]byte{}
	for _, path := range before {
		o.replace[path] = nil
	}
	for _, t := range texts {
		path := places.ConfigFile
		if t.Path != mainText {
			path = filepath.Join(places.ConfDir, filepath.Base(filepath.FromSlash(t.Path)))
		}
		o.replace[path] = []byte(t.Text)
		written = append(written, path)
	}
	slices.SortFunc(written, func(x, y string) int { return lastIs(places.ConfigFile, x) - lastIs(places.ConfigFile, y) })
	l, err := Load(o)
	if err == nil {
		err = l.Ready()
	}
	if err != nil {
		return nil, err
	}
	for _, path := range before {
		if err := putAside(path); err != nil {
			return nil, err
		}
	}
	for i, path := range written {
		if err := writeOwnerOnly(path, o.replace[path]); err != nil {
			return written[:i], err
		}
	}
	return written, nil
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
	if err != nil {
		return writeError(opRestore, path+saved, err)
	}
	return nil
}
