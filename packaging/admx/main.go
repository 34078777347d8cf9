// Command admx writes the templates by which the Group Policy editor, and Intune,
// know the broker's settings: M365TokenBroker.admx, and its English texts in en-US.
// It makes them from the settings' schema in internal/config and the texts beside
// this file, so that no setting can be missing or misspelt.
package main

import (
	"bytes"
	"encoding/xml"
	"log"
	"os"
	"path/filepath"

	"github.com/m365-token-broker/broker/internal/config"
)

//go:generate go run .

// The files, from this directory.
const (
	definitionsFile = "M365TokenBroker.admx"
	resourcesFile   = "en-US/M365TokenBroker.adml"
)

func main() {
	files, err := templates(config.Schema())
	if err != nil {
		log.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.FromSlash(name), data, 0o644); err != nil { //nolint:gosec // for everybody to read
			log.Fatal(err)
		}
	}
}

// templates makes both files, by name.
func templates(schema []config.Known) (map[string][]byte, error) {
	w, err := write(schema)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, content := range map[string]any{definitionsFile: w.admx, resourcesFile: w.adml} {
		text, err := xml.MarshalIndent(content, "", "  ")
		if err != nil {
			return nil, err
		}
		files[name] = document(text)
	}
	return files, nil
}

// document puts head and end to it.
func document(text []byte) []byte {
	return bytes.Join([][]byte{[]byte(`<?xml version="1.0" encoding="utf-8"?>`), []byte(note), text, nil}, []byte("\n"))
}

const note = `<!-- Made by packaging/admx (go generate); change the texts there. docs/policy.md says how to use it. -->`
