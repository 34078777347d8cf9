package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// The command reads the policy where group policy writes it. That is one key for the
// whole machine, so it is Wine's alone to have it changed by a test.
func TestConfigCheckReadsRegistry(t *testing.T) {
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() != nil {
		t.Skip("would change the policy of this machine, and this is not Wine; see scripts/wine-test")
	}
	const policy = `SOFTWARE\Policies\M365TokenBroker`
	for key, set := range map[string]func(registry.Key) error{
		policy: func(k registry.Key) error { return k.SetStringValue("tenant", "contoso.com") },
		policy + `\Mandatory`: func(k registry.Key) error {
			return k.SetDWordValue("audit.file", 1)
		},
	} {
		k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, key, registry.SET_VALUE|registry.WOW64_64KEY)
		if err != nil {
			t.Fatal(err)
		}
		err = set(k)
		_ = k.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = registry.DeleteKey(registry.LOCAL_MACHINE, policy+`\Mandatory`)
		_ = registry.DeleteKey(registry.LOCAL_MACHINE, policy)
	})
	dir := t.TempDir()
	file := filepath.Join(dir, "broker.yaml")
	if err := os.WriteFile(file, []byte("client_id: 66666666-7777-8888-9999-000000000000\naudit: {file: false}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	code := run(t.Context(), []string{"config", "check", "--config", file, "--state-dir", dir}, environment{
		getenv: func(string) string { return "" }, stdout: &out, stderr: &errs,
	})
	if code != 0 || !strings.Contains(errs.String(), file+`:2: audit.file: is ignored, because HKLM\`+policy+`\Mandatory\audit.file sets it`) {
		t.Errorf("exit code %d\n%s", code, errs.String())
	}
	for _, want := range []string{"contoso.com ", `HKLM\` + policy + " (policy)", `HKLM\` + policy + `\Mandatory (mandatory policy)`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
