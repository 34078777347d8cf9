package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/m365-token-broker/broker/internal/lifecycle"
)

// The page and the commands are those of the service, where that has the
// configuration, also where somebody names that.
func TestServiceIsMeant(t *testing.T) {
	data := t.TempDir()
	file := filepath.Join(data, "M365TokenBroker", "broker.yaml")
	err := errors.Join(lifecycle.EnsureStateDir(filepath.Join(filepath.Dir(file), "state")), os.WriteFile(file, nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	env := environment{environ: []string{"ProgramData=" + data, "AppData=" + data, "LocalAppData=" + data}}
	for _, named := range []string{"", strings.ToUpper(file)} {
		o := &options{env: env, config: named}
		_, page := running(o)
		_, command := connect(t.Context(), o)
		for _, err := range []error{page, command} {
			if err == nil || !strings.Contains(err.Error(), "broker service start") {
				t.Errorf("--config %q: %v", named, err)
			}
		}
	}
}

func letEverybodyRead(t *testing.T, path string) {
	t.Helper()
	sd, err := windows.SecurityDescriptorFromString("D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;WD)")
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := sd.DACL()
	if err != nil {
		t.Fatal(err)
	}
	err = windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
	if err != nil {
		t.Fatal(err)
	}
}
