package extendedmapi

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// clientsKey is where mail programs register, below HKEY_LOCAL_MACHINE. Both
// bitnesses see the same key (Microsoft Learn, "Registry Keys Affected by
// WOW64"), so that it can name a DLL of the other.
const clientsKey = `SOFTWARE\Clients\Mail`

// outlookClient is Outlook's own key, which is right even where another program
// is the default one.
const outlookClient = "Microsoft Outlook"

// outlookComponents are the Windows Installer's categories of Office 2016 and
// later and of Office 2013, and outlookQualifiers Outlook in them (Microsoft's
// MAPIStubLibrary, stubutils.cpp).
var (
	outlookComponents = []string{"{5812C571-53F0-4467-BEFA-0A4F47A9437C}", "{E83B4360-C208-4325-9504-0D23003A74A5}"}
	outlookQualifiers = []string{"outlook.x64.exe", "outlook.exe"}
)

// places is where Windows says which MAPI there is. Looking changes nothing.
type places interface {
	// values is a registry value below HKEY_LOCAL_MACHINE: a string, several, or
	// a number; nil where there is none. Variables in it are expanded.
	values(key, name string) []string
	// published is a path that the Windows Installer knows; "" for none. Nothing
	// is installed or repaired.
	published(component, qualifier string) string
}

// candidates are the paths at which MAPI may be, the best first, in the order of
// Microsoft's MAPIStubLibrary: what the Installer says of Outlook, then what the
// mail program's key says.
func candidates(p places) []string {
	var all []string
	add := func(path string) {
		if isAbsolute(path) && !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	for _, component := range outlookComponents {
		for _, qualifier := range outlookQualifiers {
			if outlook := p.published(component, qualifier); outlook != "" {
				add(outlook[:strings.LastIndexByte(outlook, '\\')+1] + "olmapi32.dll")
			}
		}
	}
	clients := []string{outlookClient}
	if byDefault := first(p.values(clientsKey, "")); byDefault != "" && byDefault != outlookClient && !strings.Contains(byDefault, `\`) {
		clients = append(clients, byDefault)
	}
	for _, client := range clients {
		key := clientsKey + `\` + client
		add(first(p.values(key, "DLLPathEx")))
		component := first(p.values(key, "MSIComponentID"))
		if component == "" {
			continue
		}
		for _, name := range []string{"MSIApplicationLCID", "MSIOfficeLCID"} {
			for _, qualifier := range languages(p, p.values(key, name)) {
				add(p.published(component, qualifier))
			}
		}
	}
	return all
}

// languages reads the values that an MSI…LCID value points to: the first string
// is a key below HKLM\SOFTWARE, the others are names in it (MAPI's reference,
// "Choose a specific version of MAPI to load").
func languages(p places, where []string) []string {
	var all []string
	for i := 1; i < len(where); i++ {
		all = append(all, p.values(`SOFTWARE\`+where[0], where[i])...)
	}
	return all
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// isAbsolute wants a path with a drive: a bare name would be searched for in
// places that anybody can write to.
func isAbsolute(path string) bool {
	return len(path) > 3 && path[1] == ':' && path[2] == '\\'
}

// choose is the first of the paths that this process can load. Where there is
// none, the HRESULT says why, and other is the bitness of one that does not fit.
func choose(paths []string, bitness func(path string) (desktop.Bitness, error)) (path string, other desktop.Bitness, hr uint32) {
	hr = mapiprobe.HResultNoMAPI
	for _, path := range paths {
		b, err := bitness(path)
		switch {
		case err != nil: // not there, or not a DLL
		case b == mapiprobe.Own():
			return path, b, 0
		case other == "":
			other, hr = b, mapiprobe.HResultBitness
		}
	}
	return "", other, hr
}

// fileBitness is the machine type of a program or DLL, read from the file.
func fileBitness(path string) (desktop.Bitness, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return headerBitness(f)
}

var errNotPE = errors.New("not a Windows program")

// headerBitness reads the Machine field (Microsoft's "PE Format"): at 0x3C the
// place of the signature "PE\0\0", behind which the field is.
func headerBitness(r io.ReaderAt) (desktop.Bitness, error) {
	var dos [0x40]byte
	var pe [6]byte
	if _, err := r.ReadAt(dos[:], 0); err != nil || dos[0] != 'M' || dos[1] != 'Z' {
		return "", errNotPE
	}
	at := int64(binary.LittleEndian.Uint32(dos[0x3C:]))
	if n, _ := r.ReadAt(pe[:], at); n < len(pe) || string(pe[:4]) != "PE\x00\x00" {
		return "", errNotPE
	}
	switch binary.LittleEndian.Uint16(pe[4:]) {
	case 0x014C: // IMAGE_FILE_MACHINE_I386
		return desktop.X86, nil
	case 0x8664: // IMAGE_FILE_MACHINE_AMD64
		return desktop.X64, nil
	case 0xAA64: // IMAGE_FILE_MACHINE_ARM64
		return desktop.ARM64, nil
	}
	return "", errNotPE
}
