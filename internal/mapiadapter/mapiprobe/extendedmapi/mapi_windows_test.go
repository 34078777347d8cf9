package extendedmapi

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// These tests load a MAPI of our own (scripts/winetest/fakemapi), which they
// register for the whole computer. So they run under Wine only, where each run
// of scripts/wine-test has a Windows of its own.

const (
	fakeVariable = "BROKER_TEST_FAKEMAPI" // the path of the fake MAPI; scripts/wine-test sets it
	fakeProfile  = "Büro 📬"               // the profile that it knows
	ownLimit     = "EXTENDEDMAPI_TEST_LIMIT"
)

// TestMain makes this test program a probe where ownLimit is set.
func TestMain(m *testing.M) {
	limit, err := time.ParseDuration(os.Getenv(ownLimit))
	if err != nil {
		os.Exit(m.Run())
	}
	found, err := Open(context.Background(), Request{Profile: fakeProfile, Mode: mapiprobe.Cached, Limit: limit})
	if err != nil {
		os.Exit(1)
	}
	text, _ := json.Marshal(found)
	fmt.Println(string(text))
	os.Exit(found.Class.ExitCode())
}

// fake is the path of the fake MAPI.
func fake(t *testing.T) string {
	t.Helper()
	path := os.Getenv(fakeVariable)
	if path == "" {
		t.Skip("there is no fake MAPI (" + fakeVariable + "); scripts/wine-test builds one")
	}
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() != nil {
		t.Skip("the fake MAPI would become the whole computer's; that is for Wine only")
	}
	return path
}

// register makes dll the MAPI of this Windows, as the program client; "" for dll
// is none at all.
func register(t *testing.T, client, dll string) {
	t.Helper()
	t.Cleanup(func() {
		_ = registry.DeleteKey(registry.LOCAL_MACHINE, clientsKey+`\`+client)
		_ = registry.DeleteKey(registry.LOCAL_MACHINE, clientsKey)
	})
	if dll == "" {
		return
	}
	set := func(key, name, value string) {
		k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, key, registry.SET_VALUE)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		if err := k.SetStringValue(name, value); err != nil {
			t.Fatal(err)
		}
	}
	set(clientsKey, "", client)
	set(clientsKey+`\`+client, "DLLPathEx", dll)
}

// probe opens the profile with the fake's variables set, and returns what came
// out, the calls, and what was not given back.
func probe(t *testing.T, req Request, variables map[string]string) (found mapiprobe.Result, calls, left string) {
	t.Helper()
	for _, name := range []string{"LOADED", "LOG", "LEFT"} {
		os.Unsetenv("FAKEMAPI_" + name)
	}
	for name, value := range variables {
		os.Setenv("FAKEMAPI_"+name, value)
		defer os.Unsetenv("FAKEMAPI_" + name)
	}
	found, err := Open(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return found, os.Getenv("FAKEMAPI_LOG"), os.Getenv("FAKEMAPI_LEFT")
}

const nothingLeft = "0 buffers, 0 objects"

func TestFakeAnswers(t *testing.T) {
	path := fake(t)
	for client, mode := range map[string]mapiprobe.Mode{"Microsoft Outlook": mapiprobe.Cached, "Another program": mapiprobe.Online} {
		t.Run(client, func(t *testing.T) {
			register(t, client, path)
			found, calls, left := probe(t, Request{Profile: fakeProfile, Mode: mode}, nil)
			if found.Class != mapiprobe.ClassOK || found.Step != mapiprobe.StepRead || found.MAPI != mapiprobe.Own() {
				t.Errorf("%+v", found)
			}
			want := "initialize(1) logon(80108032) stores(0) columns(0) rows(0) open(a1) entry(200) props(0) logoff(0) uninitialize(0)"
			if mode == mapiprobe.Online {
				want = "initialize(1) logon(80108032) stores(0) columns(0) rows(0) open(1a1) entry(0) props(0) logoff(0) uninitialize(0)"
			}
			if calls != want || left != nothingLeft {
				t.Errorf("calls\n%s, want\n%s; left: %s", calls, want, left)
			}
		})
	}
}

// Every HRESULT comes out of every call with its step, and nothing is left open.
func TestFakeFails(t *testing.T) {
	register(t, outlookClient, fake(t))
	for call, step := range map[string]mapiprobe.Step{
		"INITIALIZE": mapiprobe.StepInitialize, "LOGON": mapiprobe.StepLogon, "STORES": mapiprobe.StepStores, "COLUMNS": mapiprobe.StepStores,
		"ROWS": mapiprobe.StepStores, "OPEN": mapiprobe.StepOpen, "ENTRY": mapiprobe.StepRead, "PROPS": mapiprobe.StepRead, "PROP": mapiprobe.StepRead,
	} {
		for hr, class := range map[uint32]mapiprobe.Class{
			0x8004011D: mapiprobe.ClassAuth, 0x80040113: mapiprobe.ClassAuth, 0x80040120: mapiprobe.ClassAuth, 0x80040124: mapiprobe.ClassAuth,
			0x80040111: mapiprobe.ClassLogon, 0x80040115: mapiprobe.ClassNetwork, 0x80040401: mapiprobe.ClassBusy, 0x80040112: mapiprobe.ClassBusy,
			0x8004011C: mapiprobe.ClassConfiguration, 0x80070005: mapiprobe.ClassConfiguration,
			0x80040605: mapiprobe.ClassInstallation, 0x80040117: mapiprobe.ClassInstallation, 0x80040154: mapiprobe.ClassInstallation,
			0x80004005: mapiprobe.ClassOther, 0x8004FFFF: mapiprobe.ClassOther,
		} {
			found, calls, left := probe(t, Request{Profile: fakeProfile, Mode: mapiprobe.Cached}, map[string]string{call: mapiprobe.FormatHResult(hr)})
			if found.HResult != hr || found.Step != step || found.Class != class || found.Name != mapiprobe.Name(hr) {
				t.Errorf("%s gives %s: %+v", call, mapiprobe.FormatHResult(hr), found)
			}
			wantLeft := nothingLeft
			if call == "INITIALIZE" {
				wantLeft = "" // what was not initialized is not uninitialized
			}
			if left != wantLeft {
				t.Errorf("%s gives %s: left %q after %s", call, mapiprobe.FormatHResult(hr), left, calls)
			}
		}
	}
}

func TestFakeOddities(t *testing.T) {
	register(t, outlookClient, fake(t))
	for name, c := range map[string]struct {
		variables map[string]string
		step      mapiprobe.Step
		hr        uint32
	}{
		"warnings":                {map[string]string{"LOGON": "0x00040380", "OPEN": "0x00040380"}, mapiprobe.StepRead, 0},
		"many stores":             {map[string]string{"COUNT": "120"}, mapiprobe.StepRead, 0},
		"one store":               {map[string]string{"COUNT": "1"}, mapiprobe.StepRead, 0},
		"no store":                {map[string]string{"COUNT": "0"}, mapiprobe.StepStores, 0x8004010F},
		"no default store":        {map[string]string{"NONE": "1"}, mapiprobe.StepStores, 0x8004010F},
		"a property that is none": {map[string]string{"PROP": "0x8004010F"}, mapiprobe.StepRead, 0},
		"no session":              {map[string]string{"LOGON": "null"}, mapiprobe.StepLogon, 0x80004002},
		"no table":                {map[string]string{"STORES": "null"}, mapiprobe.StepStores, 0x80004002},
		"no rows":                 {map[string]string{"ROWS": "null"}, mapiprobe.StepStores, 0x8004010F},
		"no mailbox":              {map[string]string{"OPEN": "null"}, mapiprobe.StepOpen, 0x80004002},
		"no folder":               {map[string]string{"ENTRY": "null"}, mapiprobe.StepRead, 0x80004002},
		"a logoff that fails":     {map[string]string{"LOGOFF": "0x80004005"}, mapiprobe.StepRead, 0},
	} {
		found, calls, left := probe(t, Request{Profile: fakeProfile, Mode: mapiprobe.Cached}, c.variables)
		if found.HResult != c.hr || found.Step != c.step || left != nothingLeft {
			t.Errorf("%s: %+v; left %s after %s", name, found, left, calls)
		}
	}
	if found, _, _ := probe(t, Request{Profile: "Buro", Mode: mapiprobe.Cached}, nil); found.Class != mapiprobe.ClassLogon {
		t.Errorf("another profile: %+v", found)
	}
}

// What is not a MAPI for this program is found out, and not loaded where the
// bitness does not fit.
func TestNoMAPI(t *testing.T) {
	path := fake(t)
	dll, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	foreign, other := append([]byte(nil), dll...), desktop.X86
	at := int(foreign[0x3C]) | int(foreign[0x3D])<<8
	foreign[at+4], foreign[at+5] = 0x4C, 0x01 // IMAGE_FILE_MACHINE_I386
	if mapiprobe.Own() == other {
		other = desktop.X64
		foreign[at+4], foreign[at+5] = 0x64, 0x86 // IMAGE_FILE_MACHINE_AMD64
	}
	for name, c := range map[string]struct {
		dll  string
		hr   uint32
		mapi desktop.Bitness
	}{
		"none":                   {"", mapiprobe.HResultNoMAPI, ""},
		"a file that is missing": {filepath.Join(dir, "missing.dll"), mapiprobe.HResultNoMAPI, ""},
		"a name without a path":  {"fakemapi.dll", mapiprobe.HResultNoMAPI, ""},
		"a text":                 {write("text.dll", []byte("MAPI")), mapiprobe.HResultNoMAPI, ""},
		"another bitness":        {write("foreign.dll", foreign), mapiprobe.HResultBitness, other},
		"another DLL":            {`C:\windows\system32\kernel32.dll`, hresultNoProc, mapiprobe.Own()},
	} {
		t.Run(name, func(t *testing.T) {
			register(t, outlookClient, c.dll)
			found, _, _ := probe(t, Request{Profile: fakeProfile, Mode: mapiprobe.Cached}, nil)
			if found.Step != mapiprobe.StepLoad || found.HResult != c.hr || found.MAPI != c.mapi || os.Getenv("FAKEMAPI_LOADED") != "" {
				t.Errorf("%+v, loaded %q", found, os.Getenv("FAKEMAPI_LOADED"))
			}
		})
	}
	t.Run("damaged", func(t *testing.T) {
		register(t, outlookClient, write("damaged.dll", dll[:at+0x100]))
		found, _, _ := probe(t, Request{Profile: fakeProfile, Mode: mapiprobe.Cached}, nil)
		if found.Step != mapiprobe.StepLoad || found.Class == mapiprobe.ClassOK {
			t.Errorf("%+v", found)
		}
	})
}

const hresultNoProc uint32 = 0x8007007F // ERROR_PROC_NOT_FOUND

// A probe in a process of its own, through the runner: it says at which step
// MAPI hangs, and the process ends although MAPI does not.
func TestFakeHangs(t *testing.T) {
	register(t, outlookClient, fake(t))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(ownLimit, "4s") // in which a slow machine must come as far as the call that hangs
	for call, want := range map[string]mapiprobe.Result{
		"LOGON":  mapiprobe.NewResult(mapiprobe.StepLogon, mapiprobe.HResultNoAnswer),
		"PROPS":  mapiprobe.NewResult(mapiprobe.StepRead, mapiprobe.HResultNoAnswer),
		"LOGOFF": mapiprobe.NewResult(mapiprobe.StepRead, 0), // the answer was there before
	} {
		t.Run(call, func(t *testing.T) {
			t.Setenv("FAKEMAPI_"+call, "hang")
			found, err := mapiprobe.Run(t.Context(), exe)
			if err != nil || found.Step != want.Step || found.HResult != want.HResult || found.Class != want.Class || found.MAPI != mapiprobe.Own() {
				t.Errorf("%+v, %v", found, err)
			}
		})
	}
}

// A probe that MAPI takes down with it is an error, and no result.
func TestFakeCrashes(t *testing.T) {
	register(t, outlookClient, fake(t))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(ownLimit, "20s")
	t.Setenv("FAKEMAPI_LOGON", "crash")
	if found, err := mapiprobe.Run(t.Context(), exe); err == nil || !strings.Contains(err.Error(), "exit code 0x63") {
		t.Errorf("%+v, %v", found, err)
	}
}
