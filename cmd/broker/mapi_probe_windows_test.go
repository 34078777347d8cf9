package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// fakeMAPI registers the MAPI of scripts/winetest/fakemapi, under Wine only.
func fakeMAPI(t *testing.T) {
	t.Helper()
	path := os.Getenv("BROKER_TEST_FAKEMAPI")
	if path == "" || windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() != nil {
		t.Skip("there is no fake MAPI (BROKER_TEST_FAKEMAPI), or this is not Wine; see scripts/wine-test")
	}
	const clients, outlook = `SOFTWARE\Clients\Mail`, `SOFTWARE\Clients\Mail\Microsoft Outlook`
	k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, outlook, registry.SET_VALUE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = registry.DeleteKey(registry.LOCAL_MACHINE, outlook)
		_ = registry.DeleteKey(registry.LOCAL_MACHINE, clients)
	})
	defer k.Close()
	if err := k.SetStringValue("DLLPathEx", path); err != nil {
		t.Fatal(err)
	}
}

const fakeProfile = "Büro 📬" // the profile that the fake knows

// Each class has its exit code, and says the same in both forms.
func TestMapiProbeExits(t *testing.T) {
	fakeMAPI(t)
	for hr, want := range map[string]struct {
		code  int
		class mapiprobe.Class
	}{
		"0x00000000": {0, mapiprobe.ClassOK}, "0x8004011D": {10, mapiprobe.ClassAuth}, "0x80040111": {11, mapiprobe.ClassLogon},
		"0x80040115": {12, mapiprobe.ClassNetwork}, "0x80040401": {13, mapiprobe.ClassBusy}, "0x8004010F": {14, mapiprobe.ClassConfiguration},
		"0x80040605": {15, mapiprobe.ClassInstallation}, "0x80004005": {16, mapiprobe.ClassOther},
	} {
		t.Setenv("FAKEMAPI_OPEN", hr)
		code, out, bad := runMapiProbe(t, "--profile", fakeProfile)
		if code != want.code || !strings.HasPrefix(out, string(want.class)+": ") || !strings.Contains(out, hr) || bad != "" {
			t.Errorf("%s: exit code %d, %q, %q", hr, code, out, bad)
		}
		code, out, bad = runMapiProbe(t, "--profile", fakeProfile, "--mode", "online", "--output", "json")
		var found mapiprobe.Result
		if err := json.Unmarshal([]byte(out), &found); err != nil || code != want.code || found.Class != want.class || bad != "" {
			t.Errorf("%s: exit code %d, %q, %q, %v", hr, code, out, bad, err)
		}
	}
}

func TestMapiProbeWithoutMAPI(t *testing.T) {
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() != nil {
		t.Skip("this computer may have an Outlook; Wine has none")
	}
	code, out, _ := runMapiProbe(t, "--profile", fakeProfile)
	if code != mapiprobe.ExitInstallation || !strings.Contains(out, "at step load") {
		t.Errorf("exit code %d, %q", code, out)
	}
}
