package main

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"testing"
)

// The file is read back by the standard library's reader of the format.
func TestBuild(t *testing.T) {
	dll, err := build()
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.NewFile(bytes.NewReader(dll))
	if err != nil {
		t.Fatalf("debug/pe cannot read the file: %v", err)
	}
	section := f.Section(".edata")
	if section == nil {
		t.Fatal("no export section")
	}
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	var dir exportDirectory
	var tables exportTables
	if _, err := binary.Decode(data, binary.LittleEndian, &dir); err != nil {
		t.Fatal(err)
	}
	if _, err := binary.Decode(data[dir.AddressOfFunctions-sectionRVA:], binary.LittleEndian, &tables); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, want string
		rva        uint32
	}{
		{"name of the DLL", "bcryptprimitives.dll", dir.Name},
		{"export", "ProcessPrng", tables.Name},
		{"forwarder", "ADVAPI32.SystemFunction036", tables.Function},
	} {
		got, _, _ := bytes.Cut(data[c.rva-sectionRVA:], []byte{0})
		if string(got) != c.want {
			t.Errorf("%s is %q, want %q", c.what, got, c.want)
		}
	}
}
