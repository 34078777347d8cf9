package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestSPDX(t *testing.T) {
	mit := license{"LICENSE", "Permission is hereby granted, free of charge,\nto any person obtaining a copy"}
	tests := []struct {
		name  string
		files []license
		want  []string
	}{
		{"mit", []license{mit}, []string{"MIT"}},
		{"apache, and a notice", []license{{"LICENSE.txt", "Apache License\n   Version 2.0"}, {"NOTICE", "free of charge"}}, []string{"Apache-2.0"}},
		{"two", []license{{"LICENSE-APACHE", "Apache License, Version 2.0"}, mit}, []string{"Apache-2.0", "MIT"}},
		{"bsd", []license{{"LICENSE", "Redistributions in binary form must reproduce the above copyright notice. Neither the name of"}}, []string{"BSD-3-Clause"}},
		{"bsd of two clauses", []license{{"COPYING", "Redistributions in binary form must reproduce the above copyright notice"}}, []string{"BSD-2-Clause"}},
		{"none that is known", []license{{"LICENSE", "all rights reserved"}}, nil},
		{"a notice alone", []license{{"NOTICE", mit.text}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := spdx(tt.files)
			if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// The bill of this test program: every module in it has a license that is known,
// and two bills are the same.
func TestBill(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := someday.sbom(b, []string{self}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two bills of one program differ")
	}
	var got bom
	if err := json.Unmarshal(first.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Format != "CycloneDX" || got.SpecVersion != "1.6" || got.Version != 1 || got.Metadata.Timestamp != "2026-11-22T10:20:30Z" {
		t.Errorf("the head is %+v", got)
	}
	if !strings.HasPrefix(got.SerialNumber, "urn:uuid:") || got.Metadata.Component.Version != "v1.2.3" {
		t.Errorf("the number is %s, the product %+v", got.SerialNumber, got.Metadata.Component)
	}
	refs := []string{}
	for _, c := range got.Components {
		refs = append(refs, c.Ref)
		if len(c.Licenses) == 0 || c.PURL != c.Ref {
			t.Errorf("%+v", c)
		}
	}
	if !strings.HasPrefix(refs[0], "pkg:golang/stdlib@1.") || !slices.ContainsFunc(refs, func(r string) bool {
		return strings.HasPrefix(r, "pkg:golang/github.com/google/uuid@v")
	}) {
		t.Errorf("the parts are %q", refs)
	}
	if d := got.Dependencies; len(d) != 1 || d[0].Ref != got.Metadata.Component.Ref || !slices.Equal(d[0].DependsOn, refs) {
		t.Errorf("the dependencies are %+v", d)
	}
}

func TestPackageURL(t *testing.T) {
	if got := library("example.com/x", "v2.0.0+incompatible", nil).PURL; got != "pkg:golang/example.com/x@v2.0.0%2Bincompatible" {
		t.Error(got)
	}
}

func TestNotices(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := someday.notices(&b, []string{self}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"github.com/google/uuid v", "Go 1.", "Redistribution"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the notices lack %q", want)
		}
	}
}
