package extendedmapi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// registered is a computer for tests: registry values by key and name, paths of
// the Installer by component and qualifier.
type registered map[[2]string][]string

func (r registered) values(key, name string) []string { return r[[2]string{key, name}] }

func (r registered) published(component, qualifier string) string {
	return first(r[[2]string{component, qualifier}])
}

func TestCandidates(t *testing.T) {
	const vfs = `C:\Program Files\Microsoft Office\root\VFS\ProgramFilesCommonX64\system\msmapi\1033\msmapi32.dll`
	outlook := clientsKey + `\Microsoft Outlook`
	for name, c := range map[string]struct {
		computer registered
		want     []string
	}{
		"nothing": {registered{}, nil},
		"click to run": {registered{
			{clientsKey, ""}:              {"Microsoft Outlook"},
			{outlook, "DLLPath"}:          {"mapi32.dll"},
			{outlook, "DLLPathEx"}:        {vfs},
			{outlook, "MSIComponentID"}:   {"{6DB1921F-8B40-4406-A18B-E906DBEEF0C9}"},
			{outlook, "MSIOfficeLCID"}:    {`Microsoft\Office\16.0\Common\LanguageResources`, "UILanguage"},
			{"{none}", "outlook.x64.exe"}: {`C:\x.exe`},
		}, []string{vfs}},
		"installer": {registered{
			{outlookComponents[0], "outlook.exe"}: {`C:\Program Files (x86)\Microsoft Office\Office16\OUTLOOK.EXE`},
			{outlook, "DLLPathEx"}:                {`C:\Program Files (x86)\Common Files\System\MSMAPI\1033\MSMAPI32.DLL`},
		}, []string{
			`C:\Program Files (x86)\Microsoft Office\Office16\olmapi32.dll`,
			`C:\Program Files (x86)\Common Files\System\MSMAPI\1033\MSMAPI32.DLL`,
		}},
		"languages": {registered{
			{outlook, "MSIComponentID"}:                        {"{FF1D0740-D227-11D1-A4B0-006008AF820E}"},
			{outlook, "MSIApplicationLCID"}:                    {`Microsoft\Office`, "UI", "Help"},
			{outlook, "MSIOfficeLCID"}:                         {`Microsoft\Office`},
			{`SOFTWARE\Microsoft\Office`, "UI"}:                {"1031"},
			{`SOFTWARE\Microsoft\Office`, "Help"}:              {"1033"},
			{"{FF1D0740-D227-11D1-A4B0-006008AF820E}", "1033"}: {`D:\Office\MSMAPI32.DLL`},
		}, []string{`D:\Office\MSMAPI32.DLL`}},
		"another default program": {registered{
			{clientsKey, ""}: {"Thunderbird"},
			{clientsKey + `\Thunderbird`, "DLLPathEx"}: {`C:\Thunderbird\mapi.dll`},
			{outlook, "DLLPathEx"}:                     {vfs},
		}, []string{vfs, `C:\Thunderbird\mapi.dll`}},
		"paths that are not absolute": {registered{
			{clientsKey, ""}:                             {`..\..\Classes`},
			{outlook, "DLLPathEx"}:                       {`msmapi32.dll`},
			{clientsKey + `\..\..\Classes`, "DLLPathEx"}: {`C:\Temp\evil.dll`},
		}, nil},
	} {
		if got := candidates(c.computer); !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, c.want)
		}
	}
}

func TestChoose(t *testing.T) {
	own, foreign := mapiprobe.Own(), desktop.X86
	if own == foreign {
		foreign = desktop.X64
	}
	files := map[string]desktop.Bitness{"own": own, "foreign": foreign, "own 2": own}
	look := func(path string) (desktop.Bitness, error) {
		b, ok := files[path]
		if !ok {
			return "", os.ErrNotExist
		}
		return b, nil
	}
	for _, c := range []struct {
		paths   []string
		path    string
		bitness desktop.Bitness
		hr      uint32
	}{
		{nil, "", "", mapiprobe.HResultNoMAPI},
		{[]string{"gone"}, "", "", mapiprobe.HResultNoMAPI},
		{[]string{"gone", "own", "own 2"}, "own", own, 0},
		{[]string{"foreign", "own"}, "own", own, 0},
		{[]string{"gone", "foreign"}, "", foreign, mapiprobe.HResultBitness},
	} {
		path, bitness, hr := choose(c.paths, look)
		if path != c.path || bitness != c.bitness || hr != c.hr {
			t.Errorf("%q: %q, %s, %s", c.paths, path, bitness, mapiprobe.FormatHResult(hr))
		}
	}
}

// program is the beginning of a Windows program for a machine.
func program(machine uint16) []byte {
	p := make([]byte, 0x100)
	copy(p, "MZ")
	binary.LittleEndian.PutUint32(p[0x3C:], 0x80)
	copy(p[0x80:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(p[0x84:], machine)
	return p
}

func TestFileBitness(t *testing.T) {
	dir := t.TempDir()
	for machine, want := range map[uint16]desktop.Bitness{0x014C: desktop.X86, 0x8664: desktop.X64, 0xAA64: desktop.ARM64} {
		name := filepath.Join(dir, string(want)+".dll")
		if err := os.WriteFile(name, program(machine), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := fileBitness(name); err != nil || got != want {
			t.Errorf("%#x is %q, %v", machine, got, err)
		}
	}
	if _, err := fileBitness(filepath.Join(dir, "none.dll")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := fileBitness(dir); err == nil {
		t.Error("a directory has a bitness")
	}
}

func FuzzHeaderBitness(f *testing.F) {
	f.Add(program(0x8664))
	f.Add(program(0x01C4))
	f.Add(program(0x014C)[:0x85])
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := headerBitness(bytes.NewReader(text))
		if (err == nil) != (b != "") {
			t.Errorf("%q, %v", b, err)
		}
		if err == nil && !bytes.Contains(text, []byte("PE\x00\x00")) {
			t.Errorf("%q without a signature", b)
		}
	})
}
