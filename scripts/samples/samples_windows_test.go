package samples_test

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// The C++ sample opens a mailbox of scripts/winetest/fakemapi through Windows'
// own MAPI router; under Wine only, as the fake becomes the whole computer's.
func TestCPlusPlus(t *testing.T) {
	path, fake := os.Getenv(cppVariable), os.Getenv("BROKER_TEST_FAKEMAPI")
	if path == "" || fake == "" || windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() != nil {
		t.Skip("the sample is not compiled (" + cppVariable + "), or this is not Wine; see scripts/wine-test")
	}
	const clients, client = `SOFTWARE\Clients\Mail`, `SOFTWARE\Clients\Mail\Fake`
	for key, values := range map[string]map[string]string{clients: {"": "Fake"}, client: {"DLLPath": fake, "DLLPathEx": fake}} {
		k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, key, registry.SET_VALUE)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range values {
			if err := k.SetStringValue(name, value); err != nil {
				t.Fatal(err)
			}
		}
		_ = k.Close()
	}
	t.Cleanup(func() {
		_ = registry.DeleteKey(registry.LOCAL_MACHINE, client)
		_ = registry.DeleteKey(registry.LOCAL_MACHINE, clients)
	})
	s := sample{again: true, command: func(ctx context.Context, t *testing.T, hresults ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, path, "archive", "Büro 📬")
		cmd.Env = os.Environ()
		if len(hresults) > 0 {
			cmd.Env = append(cmd.Env, "FAKEMAPI_OPEN="+hresults[0])
		} else {
			cmd.Env = append(cmd.Env, "BROKER_KEY_FILE="+keyFile(t))
		}
		return cmd
	}}
	s.test(t)
}
