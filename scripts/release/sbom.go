package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The bill of materials, as CycloneDX 1.6 has it (ECMA-424). What is in it comes
// from the programs themselves, and its time and number from the commit, so that
// two builds of one commit have the same one.

type bom struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	SerialNumber string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp  string     `json:"timestamp"`
	Component  component  `json:"component"`
	Properties []property `json:"properties"`
}

type component struct {
	Ref        string           `json:"bom-ref"`
	Type       string           `json:"type"`
	Name       string           `json:"name"`
	Version    string           `json:"version"`
	Licenses   []licenseChoice  `json:"licenses,omitempty"`
	PURL       string           `json:"purl"`
	References []outerReference `json:"externalReferences,omitempty"`
	Properties []property       `json:"properties,omitempty"`
}

type licenseChoice struct {
	License licenseID `json:"license"`
}

type licenseID struct {
	ID string `json:"id"`
}

type outerReference struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// sbom prints the bill of materials of the programs.
func (r release) sbom(out io.Writer, programs []string) error {
	l, err := readLinked(programs)
	if err != nil {
		return err
	}
	licenses, err := l.licenses()
	if err != nil {
		return err
	}
	b, err := r.bill(l, licenses)
	if err != nil {
		return err
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(b)
}

func (r release) bill(l linked, licenses map[string][]license) (bom, error) {
	product := library(l.main, r.version, []string{"MIT"})
	product.Type = "application"
	product.References = []outerReference{{"vcs", "https://" + l.main}}
	parts := []component{library("stdlib", l.golang, []string{"BSD-3-Clause"})}
	for _, m := range l.modules {
		ids, err := spdx(licenses[m.path])
		if err != nil {
			return bom{}, fmt.Errorf("%s: %w", m.path, err)
		}
		c := library(m.path, m.version, ids)
		c.Properties = []property{{"m365-token-broker:go.sum", m.sum}}
		parts = append(parts, c)
	}
	refs := make([]string, len(parts))
	for i, p := range parts {
		refs[i] = p.Ref
	}
	return bom{
		Format:       "CycloneDX",
		SpecVersion:  "1.6",
		SerialNumber: "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceURL, []byte(product.PURL+"#"+r.commit)).String(),
		Version:      1,
		Metadata: metadata{
			Timestamp:  r.made.Format(time.RFC3339),
			Component:  product,
			Properties: []property{{"m365-token-broker:commit", r.commit}},
		},
		Components:   parts,
		Dependencies: []dependency{{product.Ref, refs}},
	}, nil
}

// library is one module, by its package URL.
func library(path, version string, licenses []string) component {
	url := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	c := component{Ref: url, Type: "library", Name: path, Version: version, PURL: url}
	for _, id := range licenses {
		c.Licenses = append(c.Licenses, licenseChoice{licenseID{id}})
	}
	return c
}
