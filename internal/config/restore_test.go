package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/m365-token-broker/broker/internal/token"
)

// elsewhere is a configuration from another machine.
func elsewhere(t *testing.T) []Text {
	t.Helper()
	h := newHome(t, map[string]string{
		"broker.yaml":     "tenant: contoso.com\nclient_id: " + appID + "\n",
		"conf.d/crm.yaml": "consumers: {crm: {key_sha256: [], accounts: [ops@contoso.com], resources: [graph]}}\n",
	})
	texts, err := h.load().Texts()
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func TestRestore(t *testing.T) {
	texts := elsewhere(t)
	dir := t.TempDir()
	o := Options{ConfigPath: filepath.Join(dir, "new", "mine.yaml"), StateDir: dir} // under another name
	written, err := Restore(o, texts, false)
	if want := []string{filepath.Join(dir, "new", "conf.d", "crm.yaml"), o.ConfigPath}; err != nil || !slices.Equal(written, want) {
		t.Fatalf("%v, %v", written, err)
	}
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Texts()
	if diff := cmp.Diff(texts, again); err != nil || diff != "" {
		t.Error(err, diff)
	}
	ownerOnly(t, filepath.Dir(o.ConfigPath), 0o700)
	for _, path := range written {
		ownerOnly(t, path, 0o600)
	}

	if _, err := Restore(o, texts, false); token.KindOf(err) != token.KindConflict {
		t.Errorf("once more: %v", err)
	}
	old := filepath.Join(dir, "new", "conf.d", "old.yaml")
	for _, name := range []string{old, old + saved} {
		if err := os.WriteFile(name, []byte("telemetry: {log_level: debug}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	texts[0].Text += "listen: 127.0.0.1:9999\n"
	if _, err := Restore(o, texts, true); err != nil {
		t.Fatal(err)
	}
	l, err = Load(o)
	if err != nil || l.Config.Listen != "127.0.0.1:9999" || l.Config.Telemetry.LogLevel == "debug" {
		t.Errorf("%v, %+v", err, l)
	}
	for _, path := range append(written, old) {
		if _, err := os.Stat(path + saved); err != nil {
			t.Error(err)
		}
	}
}

// What nobody could restore is not saved; what was changed a moment ago is.
func TestTextsAreThoseOnTheDisk(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": "tenant: contoso.com\nclient_id: " + appID + "\n"})
	l := h.load()
	h.write("conf.d/new.yaml", "telemetry: {log_level: debug}\n")
	if texts, err := l.Texts(); err != nil || len(texts) != 2 || texts[1].Path != "conf.d/new.yaml" {
		t.Errorf("%v, %v", texts, err)
	}
	h.write("conf.d/new.yaml", "nosuch: 1\n")
	if _, err := l.Texts(); token.KindOf(err) != token.KindConflict {
		t.Error(err)
	}
}

// What is wrong with a configuration, here or as such, is said before anything is
// written.
func TestRestoreChecksFirst(t *testing.T) {
	for name, texts := range map[string][]Text{
		"nosuch: unknown key": {{"broker.yaml", "tenant: contoso.com\nclient_id: " + appID + "\nnosuch: 1\n"}},
		"client_id: is not":   {{"broker.yaml", "tenant: contoso.com\n"}},
		"ca_file":             {{"broker.yaml", "tenant: contoso.com\nclient_id: " + appID + "\nca_file: /no/such/ca.pem\n"}},
	} {
		dir := t.TempDir()
		o := Options{ConfigPath: filepath.Join(dir, "broker.yaml"), StateDir: dir}
		_, err := Restore(o, texts, true)
		if list, ok := errors.AsType[*Error](err); !ok || !strings.Contains(list.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left, %v", name, left, err)
		}
	}
}
