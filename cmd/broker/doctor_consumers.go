package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// This file looks at the programs that may ask for tokens: those that cannot, and
// those that never do.

// When something about a consumer is worth a look.
const (
	unusedFor    = 30 * 24 * time.Hour // since its last request
	neverUsedFor = 7 * 24 * time.Hour  // since it was made, and since the broker's start
	keyEndsSoon  = 48 * time.Hour
)

// askConsumers asks the broker for its consumers.
func (d *doctor) askConsumers(ctx context.Context, a *api, accounts []httpapi.Account) {
	list, err := a.consumers(ctx)
	if err != nil {
		d.found(nameConsumers, resultProblem, "The consumers cannot be listed: "+sentence(err), "")
		return
	}
	look := consumerLook{now: time.Now(), accounts: accounts, file: programFile}
	if d.status != nil {
		look.started = d.status.StartedAt
	}
	d.checks = append(d.checks, look.all(list)...)
	for _, name := range strangers(d.only, "consumer/", list, func(c httpapi.Consumer) string { return c.Name }) {
		d.found("consumer/"+name, resultProblem, "There is no consumer "+name+".", "See which there are with: broker consumers list")
	}
}

// consumerLook is what consumers are held against.
type consumerLook struct {
	now      time.Time
	started  time.Time // of the broker; zero: none runs, so that nothing was counted
	accounts []httpapi.Account
	file     func(path string) (sha256 string, err error)
}

// all is a check for every consumer with which something is wrong, behind one for
// all of them.
func (l consumerLook) all(list []httpapi.Consumer) []check {
	var lasting []httpapi.Consumer
	for _, c := range list {
		if c.LeaseEndsAt.IsZero() { // a lease lives as long as its program
			lasting = append(lasting, c)
		}
	}
	if len(lasting) == 0 {
		return skipped("No program may ask for tokens yet (broker consumers add, or broker exec).", nameConsumers)
	}
	all := []check{{Name: nameConsumers, Result: resultOK, Text: counted(int64(len(lasting)), "program") + " may ask the broker."}}
	for _, c := range lasting {
		found := slices.Concat(l.keys(c), l.signedIn(c), l.program(c), l.use(c))
		for i := range found {
			found[i].Name = "consumer/" + c.Name
		}
		all = append(all, found...)
	}
	return all
}

// keys looks whether it can prove who it is.
func (l consumerLook) keys(c httpapi.Consumer) []check {
	if len(c.Keys) == 0 && c.Sink == "" && c.Name != "unauthenticated" {
		return []check{{Result: resultProblem, Text: c.Name + " has no key that works, so that it is locked out.", Remedy: "Run: broker consumers rotate " + c.Name}}
	}
	ends := func(k httpapi.ConsumerKeyInfo) bool { return !k.EndsAt.IsZero() }
	var all []check
	for _, k := range c.Keys {
		if !ends(k) || k.EndsAt.Sub(l.now) > keyEndsSoon {
			continue
		}
		out := check{
			Result: resultWarning, Text: fmt.Sprintf("The key %s of %s was rotated out, and ends %s.", k.Sha256Prefix, c.Name, until(l.now, k.EndsAt)),
			Remedy: "See that the program has the key that broker consumers rotate printed.",
		}
		if !slices.ContainsFunc(c.Keys, func(k httpapi.ConsumerKeyInfo) bool { return !ends(k) }) {
			out.Text = fmt.Sprintf("The last key of %s ends %s.", c.Name, until(l.now, k.EndsAt))
			out.Remedy = "Make a new one; run: broker consumers rotate " + c.Name
		}
		all = append(all, out)
	}
	return all
}

// signedIn looks whether there is anybody whose token it could have.
func (l consumerLook) signedIn(c httpapi.Consumer) []check {
	var out []string
	for _, name := range c.Accounts {
		if !slices.ContainsFunc(l.accounts, func(a httpapi.Account) bool {
			return a.Account == name && a.State != httpapi.AccountStateSignInRequired
		}) {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return nil
	}
	text := fmt.Sprintf("%s gets no token of %s, which is not signed in.", c.Name, strings.Join(out, ", "))
	if len(out) == len(c.Accounts) {
		text = fmt.Sprintf("%s gets no token at all: none of its accounts is signed in (%s).", c.Name, strings.Join(out, ", "))
	}
	return []check{{Result: resultWarning, Text: text, Remedy: "Run: broker login --account " + out[0]}}
}

// program looks whether the program that it is tied to is there, and still the one
// that was meant. What this account may not see is passed over.
func (l consumerLook) program(c httpapi.Consumer) []check {
	if c.Executable == "" {
		return nil
	}
	sum, err := l.file(c.Executable)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []check{{Result: resultProblem, Text: fmt.Sprintf("The program that %s is tied to is not on this machine: %s.", c.Name, c.Executable), Remedy: "Install it there, or correct executable of the consumer " + c.Name + " in its drop-in in conf.d."}}
	case err == nil && c.Sha256 != "" && sum != "" && !strings.EqualFold(sum, c.Sha256):
		return []check{{Result: resultProblem, Text: fmt.Sprintf("The program that %s is tied to is another file than when its SHA-256 was noted: %s.", c.Name, c.Executable), Remedy: "Where it was updated on purpose, correct sha256 of the consumer " + c.Name + " in its drop-in in conf.d; the new one is " + sum + "."}}
	}
	return nil
}

// maxProgram bounds how large a program is hashed here.
const maxProgram = 256 << 20

// programFile is the SHA-256 of a program's file; empty where it is very large.
func programFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxProgram {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// use looks whether it asks for anything. What was counted begins with the broker;
// a token file is kept without being asked for.
func (l consumerLook) use(c httpapi.Consumer) []check {
	if l.started.IsZero() || c.Sink != "" {
		return nil
	}
	remedy := "Where it is not needed any more, run: broker consumers remove " + c.Name
	switch {
	case !c.LastUsedAt.IsZero() && l.now.Sub(c.LastUsedAt) > unusedFor:
		return []check{{Result: resultWarning, Text: fmt.Sprintf("%s has not asked for anything since %s.", c.Name, span(l.now.Sub(c.LastUsedAt))), Remedy: remedy}}
	case c.LastUsedAt.IsZero() && l.now.Sub(l.started) > neverUsedFor && l.now.Sub(c.CreatedAt) > neverUsedFor:
		return []check{{Result: resultWarning, Text: fmt.Sprintf("%s has never asked for anything since the broker started, %s ago.", c.Name, span(l.now.Sub(l.started))), Remedy: remedy}}
	}
	return nil
}
