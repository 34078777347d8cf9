package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// brisk shortens the waits of a broker that has a scripted desktop.
const brisk = "--scripted-brisk"

// scripted is a desktop that a file describes, see desktop.LoadScript.
type scripted struct {
	file    string
	brisk   bool
	content map[string]any
	renewed int
}

func (s *scripted) flags() []string {
	flags := []string{"--scripted-desktop", s.file}
	if s.brisk {
		flags = append(flags, brisk)
	}
	return flags
}

// set changes the desktop.
func (s *scripted) set(change map[string]any) error {
	if s.content == nil {
		s.content = map[string]any{"profiles": []string{outlookProfile}}
	}
	maps.Copy(s.content, change)
	text, err := json.Marshal(s.content)
	if err != nil {
		return err
	}
	return s.write(text)
}

// spoil leaves a file that nobody can read, so that nobody can look.
func (s *scripted) spoil() error { return s.write([]byte("{")) }

func (s *scripted) write(text []byte) error {
	if err := os.WriteFile(s.file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(s.file+".new", s.file)
}

func (s *scripted) renew() error {
	s.renewed++
	return s.set(map[string]any{"renewed": s.renewed})
}

func (s *scripted) acts() (acts, error) {
	all, err := desktop.ReadActs(s.file)
	var a acts
	for _, act := range all {
		switch act.Did {
		case desktop.DidStart:
			a.starts++
			if act.Profile != outlookProfile {
				return a, fmt.Errorf("start of Outlook with the profile %s", act.Profile)
			}
		case desktop.DidSend:
			a.sends++
		case desktop.DidViolate:
			return a, fmt.Errorf("what must never be done was tried: %s", act.Reason)
		}
	}
	return a, err
}
