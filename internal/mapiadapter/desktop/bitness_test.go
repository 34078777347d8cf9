package desktop

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// program is a PE file with nothing but headers; comFlags makes it one of .NET.
func program(machine uint16, comFlags *uint32) []byte {
	var b bytes.Buffer
	dos := make([]byte, 0x40)
	copy(dos, "MZ")
	binary.LittleEndian.PutUint32(dos[0x3c:], 0x40)
	b.Write(dos)
	b.WriteString("PE\x00\x00")
	header := pe.FileHeader{Machine: machine, Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE}
	var optional any = pe.OptionalHeader64{Magic: 0x20b, NumberOfRvaAndSizes: 16}
	if machine == pe.IMAGE_FILE_MACHINE_I386 {
		o := pe.OptionalHeader32{Magic: 0x10b, NumberOfRvaAndSizes: 16}
		if comFlags != nil {
			o.DataDirectory[comDescriptor] = pe.DataDirectory{VirtualAddress: 0x2008, Size: 72}
			header.NumberOfSections = 1
		}
		optional = o
	}
	header.SizeOfOptionalHeader = uint16(binary.Size(optional))
	write := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	write(header)
	write(optional)
	if comFlags != nil {
		section := pe.SectionHeader32{VirtualSize: 0x100, VirtualAddress: 0x2000, SizeOfRawData: 0x100, PointerToRawData: 0x200}
		copy(section.Name[:], ".text")
		write(section)
		b.Write(make([]byte, 0x200-b.Len()))
		body := make([]byte, 0x100)
		binary.LittleEndian.PutUint32(body[8+comFlagsAt:], *comFlags)
		b.Write(body)
	}
	return b.Bytes()
}

func TestBitness(t *testing.T) {
	flags := func(f uint32) *uint32 { return &f }
	for _, test := range []struct {
		name    string
		program []byte
		native  Bitness
		want    Bitness
	}{
		{"64 bits", program(pe.IMAGE_FILE_MACHINE_AMD64, nil), X64, X64},
		{"32 bits", program(pe.IMAGE_FILE_MACHINE_I386, nil), X64, X86},
		{"ARM", program(pe.IMAGE_FILE_MACHINE_ARM64, nil), ARM64, ARM64},
		{"x64 on ARM", program(pe.IMAGE_FILE_MACHINE_AMD64, nil), ARM64, X64},
		{".NET, any CPU", program(pe.IMAGE_FILE_MACHINE_I386, flags(comILOnly)), X64, X64},
		{".NET, any CPU on ARM", program(pe.IMAGE_FILE_MACHINE_I386, flags(comILOnly)), ARM64, ARM64},
		{".NET, any CPU, 32 bits preferred", program(pe.IMAGE_FILE_MACHINE_I386, flags(comILOnly|com32Required|0x20000)), X64, X86},
		{".NET, x86", program(pe.IMAGE_FILE_MACHINE_I386, flags(comILOnly|com32Required)), X64, X86},
		{".NET with native code", program(pe.IMAGE_FILE_MACHINE_I386, flags(0)), X64, X86},
		{"something else", program(pe.IMAGE_FILE_MACHINE_RISCV64, nil), X64, ""},
		{"a text", []byte("#!/bin/sh"), X64, ""},
		{"empty", nil, X64, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "program.exe")
			if err := os.WriteFile(path, test.program, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := bitnessOf(path, test.native); got != test.want {
				t.Errorf("bitnessOf = %q, want %q", got, test.want)
			}
		})
	}
	if got := bitnessOf(filepath.Join(t.TempDir(), "none.exe"), X64); got != "" {
		t.Errorf("bitnessOf of no file = %q", got)
	}
}
