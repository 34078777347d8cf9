package config

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// TestReadPolicyKey writes every type into a key of this test's own, beside the real
// policy, and reads it back.
func TestReadPolicyKey(t *testing.T) {
	path := fmt.Sprintf(`SOFTWARE\Policies\M365TokenBroker-test-%d`, os.Getpid())
	if got, err := readKey(registry.LOCAL_MACHINE, path); err != nil || len(got.Values)+len(got.Keys) > 0 {
		t.Fatalf("a key that does not exist: %v, %v", got, err)
	}
	sub := func(name string) registry.Key {
		k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, path+name, registry.ALL_ACCESS|registry.WOW64_64KEY)
		if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			t.Skip("needs an administrator, who alone may write policy")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = k.Close()
			_ = registry.DeleteKey(registry.LOCAL_MACHINE, path+name)
		})
		return k
	}
	root, mandatory, _, ops := sub(""), sub(`\Mandatory`), sub(`\Accounts`), sub(`\Accounts\ops`)
	for _, err := range []error{
		root.SetStringValue("listen", "127.0.0.1:1"),
		root.SetExpandStringValue("ca_file", `%SystemRoot%\corporate.pem`),
		root.SetDWordValue("dialects.azd", 0),
		root.SetQWordValue("dialects.sidecar", 1),
		root.SetStringsValue("pipe_users", []string{`CONTOSO\svc-crm`, `CONTOSO\größe`}),
		root.SetBinaryValue("tenant", []byte{1}),
		setShort(root, "audit.file"),
		mandatory.SetStringValue("telemetry.log_level", "debug"),
		ops.SetStringValue("username", "ops@contoso.com"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := readKey(registry.LOCAL_MACHINE, path)
	if err != nil {
		t.Fatal(err)
	}
	none := values{}
	leaf := map[string]PolicyKey{}
	want := PolicyKey{
		Values: values{
			"listen": "127.0.0.1:1", "ca_file": os.Getenv("SystemRoot") + `\corporate.pem`, "dialects.azd": uint64(0), "dialects.sidecar": uint64(1),
			"pipe_users": []string{`CONTOSO\svc-crm`, `CONTOSO\größe`}, "tenant": PolicyType("REG_BINARY"),
			"audit.file": PolicyType("number of a wrong length"),
		},
		Keys: map[string]PolicyKey{
			"Mandatory": {Values: values{"telemetry.log_level": "debug"}, Keys: leaf},
			"Accounts": {Values: none, Keys: map[string]PolicyKey{
				"ops": {Values: values{"username": "ops@contoso.com"}, Keys: leaf},
			}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// setShort writes a REG_DWORD of two bytes, as a faulty program could.
func setShort(k registry.Key, name string) error {
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	data := []byte{1, 0}
	set := windows.NewLazySystemDLL("advapi32.dll").NewProc("RegSetValueExW")
	code, _, _ := set.Call(uintptr(k), uintptr(unsafe.Pointer(wide)), 0, registry.DWORD, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	if code != 0 {
		return windows.Errno(code)
	}
	return nil
}

// TestMachinePolicy reads the real one, which says what it likes, and may not exist.
func TestMachinePolicy(t *testing.T) {
	if _, err := machinePolicy(); err != nil {
		t.Error(err)
	}
}
