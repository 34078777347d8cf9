package config

import (
	"errors"
	"io/fs"
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

	if again, err := Restore(o, texts, false); err != nil || len(again) > 0 {
		t.Errorf("the same once more: %v, %v", again, err)
	}
	texts[0].Text += "listen: 127.0.0.1:9999\n"
	if _, err := Restore(o, texts, false); token.KindOf(err) != token.KindConflict {
		t.Errorf("another one: %v", err)
	}
	old := filepath.Join(dir, "new", "conf.d", "old.yaml")
	for _, name := range []string{old, old + saved} {
		if err := os.WriteFile(name, []byte("telemetry: {log_level: debug}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Restore(o, texts, true); err != nil {
		t.Fatal(err)
	}
	l, err = Load(o)
	if err != nil || l.Config.Listen != "127.0.0.1:9999" || l.Config.Telemetry.LogLevel == "debug" {
		t.Errorf("%v, %+v", err, l)
	}
	for _, path := range []string{o.ConfigPath, old} {
		if _, err := os.Stat(path + saved); err != nil {
			t.Error(err)
		}
	}
}

// replaced is a directory with a configuration, and what is to take its place.
func replaced(t *testing.T) (o Options, texts []Text, want map[string]string) {
	t.Helper()
	dir := t.TempDir()
	o = Options{ConfigPath: filepath.Join(dir, "broker.yaml"), StateDir: filepath.Join(dir, "state")}
	const was = "telemetry: {log_level: debug}\n"
	if err := os.Mkdir(filepath.Join(dir, "conf.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"broker.yaml", "conf.d/crm.yaml", "conf.d/old.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(was), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	texts = append(elsewhere(t), Text{"conf.d/more.yaml", "store: memory\n"})
	want = map[string]string{"broker.yaml.bak": was, "conf.d/crm.yaml.bak": was, "conf.d/old.yaml.bak": was}
	for _, text := range texts {
		want[text.Path] = text.Text
	}
	return o, texts, want
}

// files are all below the directory of a configuration.
func files(t *testing.T, o Options) map[string]string {
	t.Helper()
	all := map[string]string{}
	dir := os.DirFS(filepath.Dir(o.ConfigPath))
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(dir, path)
		all[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Wherever a Restore is cut short, another one finishes it, and what was there
// before is kept.
func TestRestoreThatWasCutShort(t *testing.T) {
	for n, more := 0, true; more; n++ {
		o, texts, want := replaced(t)
		steps, _, err := o.restoring(texts, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps[:n] {
			if err := s.do(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(o.ConfigPath); n > 0 && n < len(steps) && err == nil {
			t.Errorf("after %d steps there is a main file", n)
		}
		more = n < len(steps)
		inTheWay, err := o.InTheWay(texts)
		if err != nil || (len(inTheWay) == 0) != (n >= 3) {
			t.Errorf("after %d steps %v is in the way, %v", n, inTheWay, err)
		}
		if _, err := Restore(o, texts, n < 3); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, files(t, o)); diff != "" {
			t.Errorf("after %d steps: %s", n, diff)
		}
	}
}

// A Restore that cannot write a file leaves everything as it was.
func TestRestoreThatFails(t *testing.T) {
	o, texts, _ := replaced(t)
	if err := os.MkdirAll(filepath.Join(filepath.Dir(o.ConfigPath), "conf.d", "more.yaml", "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := files(t, o)
	if written, err := Restore(o, texts, true); token.KindOf(err) != token.KindInternal || len(written) > 0 {
		t.Errorf("%v, %v", written, err)
	}
	if diff := cmp.Diff(before, files(t, o)); diff != "" {
		t.Error(diff)
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
