package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/m365-token-broker/broker/internal/backup"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// A passphrase comes from a terminal, from a file, or from standard input; never
// from a flag or the environment, where other programs can read it.

// fromStdin is the name of a file that stands for standard input or output.
const fromStdin = "-"

// maxSecretFile bounds what is read of a file with a secret, in bytes.
const maxSecretFile = 64 << 10

// newPassphrase is the passphrase to encrypt with, checked for its strength. A
// person types it twice.
func (o *options) newPassphrase(file string) (token.Secret, error) {
	p, err := o.passphrase(file, "Passphrase for the export (12 characters or more): ")
	if err == nil {
		err = weak(p)
	}
	if err != nil || file != "" {
		return p, err
	}
	again, err := o.hidden("The same once more: ")
	if err == nil && !again.Equal(p) {
		err = usagef("the two passphrases differ; nothing was exported")
	}
	return p, err
}

// weak is backup.CheckPassphrase as a usage error.
func weak(p token.Secret) error {
	if err := backup.CheckPassphrase(p); err != nil {
		return usageError{errors.New(token.AsError(err).Detail)}
	}
	return nil
}

// passphrase is the first line of the file, or what a person types.
func (o *options) passphrase(file, question string) (token.Secret, error) {
	if file == "" {
		if !o.interactive() {
			return token.Secret{}, usagef("there is no terminal to ask for the passphrase; give a file with --passphrase-file, or - for standard input")
		}
		return o.hidden(question)
	}
	text, err := o.secretFile(file)
	if err != nil {
		return token.Secret{}, err
	}
	line, _, _ := strings.Cut(text, "\n")
	p := token.NewSecret(strings.TrimSuffix(line, "\r"))
	if p.IsZero() {
		return p, usagef("the first line of %s is empty; it must be the passphrase", file)
	}
	return p, nil
}

// secretFile reads a file that only its owner may read, or standard input.
func (o *options) secretFile(file string) (string, error) {
	from := o.env.stdin
	if file != fromStdin {
		if err := ownerfile.Audit(file); err != nil {
			return "", err
		}
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }() // it was only read
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxSecretFile+1))
	if err == nil && len(text) > maxSecretFile {
		err = fmt.Errorf("%s is larger than %d KiB; that is no passphrase and no key", file, maxSecretFile>>10)
	}
	return string(text), err
}

// hidden asks a question and reads the answer without showing it. Where the
// person gives up with Ctrl-C, the terminal shows again what is typed.
func (o *options) hidden(question string) (token.Secret, error) {
	in, ok := o.env.stdin.(*os.File)
	if !ok {
		return token.Secret{}, errNoAnswer
	}
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return token.Secret{}, fmt.Errorf("ask for the passphrase: %w", err)
	}
	stopped, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(stopped, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stopped)
	defer close(done)
	go func() {
		select {
		case <-stopped:
			_ = term.Restore(fd, before) // the process ends: nobody could be told
			fmt.Fprintln(o.env.stderr)
			o.env.exit(exitFailed)
		case <-done:
		}
	}()
	fmt.Fprint(o.env.stderr, question)
	text, err := term.ReadPassword(fd)
	fmt.Fprintln(o.env.stderr)
	if err != nil {
		return token.Secret{}, errNoAnswer
	}
	defer clear(text)
	return token.NewSecret(string(text)), nil
}
