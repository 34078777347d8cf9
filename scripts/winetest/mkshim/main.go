// Command mkshim writes a small bcryptprimitives.dll for Wine 8, which has none
// although every Windows program made by Go loads it at start.
//
// The DLL holds no code. Its one export, ProcessPrng, is forwarded to
// SystemFunction036 (RtlGenRandom) of advapi32, which has the same shape and
// which Wine has. Written in Go so that a machine needs no cross compiler.
package main

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"os"
)

// The layout: one page of headers, one section with the export table.
const (
	imageBase     = 0x180000000
	sectionRVA    = 0x1000 // where the section lies in memory
	sectionOffset = 0x200  // and in the file
	fileAlign     = 0x200
	imageSize     = 0x2000
)

// exportDirectory is IMAGE_EXPORT_DIRECTORY of the PE format, which debug/pe
// does not have.
type exportDirectory struct {
	Characteristics, TimeDateStamp uint32
	MajorVersion, MinorVersion     uint16
	Name, Base                     uint32
	NumberOfFunctions              uint32
	NumberOfNames                  uint32
	AddressOfFunctions             uint32
	AddressOfNames                 uint32
	AddressOfNameOrdinals          uint32
}

// exportTables are the three tables of one entry each that follow it.
type exportTables struct {
	Function uint32 // address of the forwarder's text, as it lies inside the section
	Name     uint32
	Ordinal  uint16
	_        uint16
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mkshim OUT.dll")
		os.Exit(2)
	}
	dll, err := build()
	if err == nil {
		err = os.WriteFile(os.Args[1], dll, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkshim:", err)
		os.Exit(1)
	}
}

// build makes the whole file.
func build() ([]byte, error) {
	exports, err := exportSection("bcryptprimitives.dll", "ProcessPrng", "ADVAPI32.SystemFunction036")
	if err != nil {
		return nil, err
	}
	var f bytes.Buffer
	f.WriteString("MZ")
	f.Write(make([]byte, 0x3c-f.Len()))
	err = write(&f,
		uint32(0x40), // offset of the next line
		[]byte("PE\x00\x00"),
		pe.FileHeader{
			Machine:              pe.IMAGE_FILE_MACHINE_AMD64,
			NumberOfSections:     1,
			SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{})),
			Characteristics: pe.IMAGE_FILE_DLL | pe.IMAGE_FILE_EXECUTABLE_IMAGE |
				pe.IMAGE_FILE_LARGE_ADDRESS_AWARE,
		},
		optionalHeader(len(exports)),
		pe.SectionHeader32{
			Name:             [8]uint8{'.', 'e', 'd', 'a', 't', 'a'},
			VirtualSize:      uint32(len(exports)),
			VirtualAddress:   sectionRVA,
			SizeOfRawData:    fileAlign,
			PointerToRawData: sectionOffset,
			Characteristics:  pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ,
		},
	)
	if err != nil {
		return nil, err
	}
	f.Write(make([]byte, sectionOffset-f.Len()))
	f.Write(exports)
	f.Write(make([]byte, sectionOffset+fileAlign-f.Len()))
	return f.Bytes(), nil
}

// optionalHeader describes an image without an entry point.
func optionalHeader(exportSize int) pe.OptionalHeader64 {
	h := pe.OptionalHeader64{
		Magic:                 0x20b, // PE32+
		SizeOfInitializedData: fileAlign,
		ImageBase:             imageBase,
		SectionAlignment:      sectionRVA,
		FileAlignment:         fileAlign,
		// Windows Vista, as Go's own programs had it.
		MajorOperatingSystemVersion: 6,
		MajorSubsystemVersion:       6,
		SizeOfImage:                 imageSize,
		SizeOfHeaders:               sectionOffset,
		Subsystem:                   pe.IMAGE_SUBSYSTEM_WINDOWS_CUI,
		SizeOfStackReserve:          0x100000,
		SizeOfStackCommit:           0x1000,
		SizeOfHeapReserve:           0x100000,
		SizeOfHeapCommit:            0x1000,
		NumberOfRvaAndSizes:         16,
	}
	h.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXPORT] = pe.DataDirectory{
		VirtualAddress: sectionRVA,
		Size:           uint32(exportSize),
	}
	return h
}

// exportSection is the export table of a DLL with one forwarded name. An
// address that points into the table itself is what marks it as forwarded.
func exportSection(dll, export, forward string) ([]byte, error) {
	tables := uint32(sectionRVA + binary.Size(exportDirectory{}))
	text := tables + uint32(binary.Size(exportTables{}))
	exportText := text + uint32(len(dll)) + 1
	forwardText := exportText + uint32(len(export)) + 1
	var b bytes.Buffer
	err := write(&b,
		exportDirectory{
			Name: text, Base: 1, NumberOfFunctions: 1, NumberOfNames: 1,
			AddressOfFunctions: tables, AddressOfNames: tables + 4, AddressOfNameOrdinals: tables + 8,
		},
		exportTables{Function: forwardText, Name: exportText},
		[]byte(dll+"\x00"+export+"\x00"+forward+"\x00"),
	)
	if b.Len() > fileAlign {
		return nil, fmt.Errorf("the export table has %d bytes, more than the %d of its section", b.Len(), fileAlign)
	}
	return b.Bytes(), err
}

// write appends the parts as they lie in the file.
func write(b *bytes.Buffer, parts ...any) error {
	for _, p := range parts {
		if err := binary.Write(b, binary.LittleEndian, p); err != nil {
			return err
		}
	}
	return nil
}
