package desktop

import (
	"debug/pe"
	"encoding/binary"
	"io"
	"os"
)

// Of a .NET program's header (ECMA-335 II.25.3.3): where the flags are, and the
// flags that decide about 32 bits.
const (
	comDescriptor = 14  // the data directory of the header
	comFlagsAt    = 16  // the flags in the header
	comILOnly     = 0x1 // no native code
	com32Required = 0x2 // runs as 32 bits everywhere
)

// bitnessOf is the machine type that a program runs as; empty: not known. It
// reads the program's PE header. A .NET program for "any CPU" says x86 there and
// runs as the system's own type, which is native.
func bitnessOf(path string, native Bitness) Bitness {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	return bitnessIn(f, native)
}

func bitnessIn(r io.ReaderAt, native Bitness) Bitness {
	f, err := pe.NewFile(r)
	if err != nil {
		return ""
	}
	switch f.Machine {
	case pe.IMAGE_FILE_MACHINE_AMD64:
		return X64
	case pe.IMAGE_FILE_MACHINE_ARM64:
		return ARM64
	case pe.IMAGE_FILE_MACHINE_I386:
		if anyCPU(f) {
			return native
		}
		return X86
	}
	return ""
}

func anyCPU(f *pe.File) bool {
	header, ok := f.OptionalHeader.(*pe.OptionalHeader32)
	if !ok || header.NumberOfRvaAndSizes <= comDescriptor {
		return false
	}
	at := header.DataDirectory[comDescriptor].VirtualAddress
	if at == 0 {
		return false
	}
	for _, s := range f.Sections {
		if at < s.VirtualAddress || at-s.VirtualAddress >= s.Size {
			continue
		}
		var flags [4]byte
		if _, err := s.ReadAt(flags[:], int64(at-s.VirtualAddress)+comFlagsAt); err != nil {
			return false
		}
		f := binary.LittleEndian.Uint32(flags[:])
		return f&comILOnly != 0 && f&com32Required == 0
	}
	return false
}
