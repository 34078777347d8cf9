package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/config"
)

func committed(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The files are what the generator makes of the schema now.
func TestGenerated(t *testing.T) {
	files, err := templates(config.Schema())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if string(committed(t, name)) != string(want) {
			t.Errorf("packaging/admx/%s is not what the settings say; run `go generate ./packaging/admx`", name)
		}
	}
}

// Every setting that a policy can set on Windows has one, and its texts; and nothing else has.
func TestSettings(t *testing.T) {
	schema := config.Schema()
	has := func(k string) bool {
		return slices.ContainsFunc(settings[:], func(s setting) bool { return s.key == k })
	}
	for _, k := range schema {
		switch reason := notOnWindows[k.Key]; {
		case reason == "" && !has(k.Key):
			t.Errorf("%s has no policy: add it to settings in packaging/admx/texts.go, or to notOnWindows with the reason", k.Key)
		case reason != "" && has(k.Key):
			t.Errorf("%s is in settings and in notOnWindows", k.Key)
		}
	}
	known := func(k string) bool {
		return slices.ContainsFunc(schema, func(s config.Known) bool { return s.Key == k })
	}
	for k := range notOnWindows {
		if !known(k) {
			t.Errorf("notOnWindows: %s is no setting", k)
		}
	}
	for title := range valueTitles {
		k, v, _ := strings.Cut(title, "=")
		i := slices.IndexFunc(schema, func(s config.Known) bool { return s.Key == k })
		if i < 0 || !slices.Contains(schema[i].Values, v) {
			t.Errorf("valueTitles: %s is no value of a setting", title)
		}
	}
}

// resourceID is the format's rule for names and IDs.
var resourceID = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// What the files refer to is there, once; and what is there is referred to.
func TestReferences(t *testing.T) {
	var admx definitions
	var adml resources
	for name, into := range map[string]any{definitionsFile: &admx, resourcesFile: &adml} {
		data := committed(t, name)
		wellFormed(t, name, data)
		if err := xml.Unmarshal(data, into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	defined := map[string]bool{}
	define := func(kind, id string) {
		if defined[kind+id] {
			t.Errorf("%s %s is there twice", kind, id)
		}
		if !resourceID.MatchString(id) {
			t.Errorf("%s %q holds a character that the format does not allow", kind, id)
		}
		defined[kind+id] = true
	}
	for _, s := range adml.Strings {
		define("string.", s.ID)
	}
	for _, p := range adml.Presentations {
		define("presentation.", p.ID)
	}
	for _, c := range admx.Categories {
		define("category.", c.Name)
	}
	for _, s := range admx.Supported {
		define("supported.", s.Name)
	}
	used := map[string]bool{}
	use := func(id string) {
		used[id] = true
		if !defined[id] {
			t.Errorf("%s is referred to, but is not there", id)
		}
	}
	for _, m := range regexp.MustCompile(`\$\(([a-z]+\.\w+)\)`).FindAllSubmatch(committed(t, definitionsFile), -1) {
		use(string(m[1]))
	}
	for _, c := range admx.Categories {
		if c.Parent != nil {
			use("category." + c.Parent.Ref)
		}
	}
	for _, p := range admx.Policies {
		define("policy.", p.Name)
		use("category." + p.Parent.Ref)
		use("supported." + p.SupportedOn.Ref)
	}
	for id := range defined {
		if !used[id] && !strings.HasPrefix(id, "category.") && !strings.HasPrefix(id, "policy.") {
			t.Errorf("%s is there, but nothing refers to it", id)
		}
	}
}

func wellFormed(t *testing.T, name string, data []byte) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(data)))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%s is not well-formed: %v", name, err)
		}
	}
}

// What a policy writes, the broker reads: each value that the editor can write, as a
// default and as mandatory.
func TestBrokerReadsPolicies(t *testing.T) {
	var admx definitions
	if err := xml.Unmarshal(committed(t, definitionsFile), &admx); err != nil {
		t.Fatal(err)
	}
	if got, want := len(admx.Policies), 2*len(settings); got != want {
		t.Errorf("%d policies, want %d", got, want)
	}
	for _, p := range admx.Policies {
		for name, value := range written(t, p) {
			read := config.PolicyKey{Values: map[string]any{name: value}}
			want := "(policy)"
			if strings.HasSuffix(p.Key, `\Mandatory`) {
				read, want = config.PolicyKey{Keys: map[string]config.PolicyKey{"Mandatory": read}}, "(mandatory policy)"
			}
			l, err := config.Load(config.Options{
				ConfigPath: os.DevNull, StateDir: t.TempDir(), GOOS: "windows",
				Policy: func() (config.PolicyKey, error) { return read, nil },
			})
			if err != nil && !strings.Contains(err.Error(), "of no use without a pipe") && !strings.Contains(err.Error(), "cannot be read: it does not exist") {
				t.Errorf("%s: %v", p.Name, err)
			}
			if err != nil {
				continue
			}
			i := slices.IndexFunc(l.Explain(), func(s config.Setting) bool { return s.Key == name })
			if i < 0 || !strings.HasSuffix(l.Explain()[i].Source, want) {
				t.Errorf("%s: %s is not taken from the policy", p.Name, name)
			}
		}
	}
}

// written is what the editor writes for a policy, with an example where people type.
func written(t *testing.T, p policy) map[string]any {
	t.Helper()
	i := slices.IndexFunc(settings[:], func(s setting) bool {
		return strings.ReplaceAll(s.key, ".", "_") == strings.TrimSuffix(p.Name, "_mandatory")
	})
	if i < 0 {
		t.Fatalf("%s belongs to no setting", p.Name)
	}
	s := settings[i]
	schema := config.Schema()
	k := schema[slices.IndexFunc(schema, func(k config.Known) bool { return k.Key == s.key })]
	switch {
	case p.Enabled != nil && p.Disabled != nil:
		return map[string]any{p.ValueName: uint64(p.Enabled.Value)}
	case p.Elements != nil && p.Elements.List != nil:
		return map[string]any{p.Elements.List.ValueName: []string{s.sample(k)}}
	case p.Elements != nil && p.Elements.Enum != nil:
		return map[string]any{p.Elements.Enum.ValueName: p.Elements.Enum.Items[0].Value}
	case p.Elements != nil && p.Elements.Text != nil:
		if n := len(s.sample(k)); n == 0 || n > p.Elements.Text.MaxLength || p.Elements.Text.MaxLength > 1023 {
			t.Errorf("%s: the example has %d characters, and the text %d", p.Name, n, p.Elements.Text.MaxLength)
		}
		return map[string]any{p.Elements.Text.ValueName: s.sample(k)}
	}
	t.Errorf("%s writes nothing", p.Name)
	return nil
}

// The help says what the schema says.
func TestExplain(t *testing.T) {
	listen := config.Known{Key: "listen", Form: config.KnownText, Default: "127.0.0.1:8477", Example: "127.0.0.1:8477", Restart: true}
	azd := config.Known{Key: "dialects.azd", Form: config.KnownSwitch, Default: "false"}
	for _, c := range []struct {
		k         config.Known
		mandatory bool
		want      []string
	}{
		{listen, false, []string{
			"may say otherwise", "Default of the broker: 127.0.0.1:8477", "when the broker starts again",
			`HKLM\Software\Policies\M365TokenBroker, value x (REG_SZ)`,
		}},
		{azd, true, []string{
			"wins over broker.yaml", "Default of the broker: off.", "within minutes",
			`M365TokenBroker\Mandatory, value x (REG_DWORD, 1 or 0)`,
		}},
	} {
		got := explain(setting{key: "x", text: "T."}, c.k, c.mandatory)
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%q lacks %q", got, w)
			}
		}
	}
}

// TestWriteRefuses: a text for what is no setting is a mistake.
func TestWriteRefuses(t *testing.T) {
	if _, err := templates(nil); err == nil || !strings.Contains(err.Error(), "is no setting") {
		t.Errorf("got %v", err)
	}
	if got := fmt.Sprint(textOf("a", "<&>").XML); got != "&lt;&amp;&gt;" {
		t.Errorf("got %s", got)
	}
}
