package config

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/m365-token-broker/broker/internal/token"
)

func TestInit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "broker.yaml")
	v := InitValues{Tenant: "contoso.com", ClientID: appID, Cloud: CloudDoD}
	if err := Init(path, v, false); err != nil {
		t.Fatal(err)
	}
	l, err := Load(Options{ConfigPath: path, StateDir: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(); err != nil {
		t.Error(err)
	}
	if c := l.Config; c.Tenant != "contoso.com" || c.ClientID != appID || c.Cloud != CloudDoD || c.Listen != DefaultListen {
		t.Errorf("read back: %+v", c)
	}
	ownerOnly(t, filepath.Dir(path), 0o700)
	ownerOnly(t, path, 0o600)

	err = Init(path, v, false)
	if token.KindOf(err) != token.KindConflict || !strings.Contains(err.Error(), path+" exists already; edit it, or use --force to replace it.") {
		t.Errorf("second time: %v", err)
	}
	v.Cloud = CloudChina
	if err := Init(path, v, true); err != nil {
		t.Errorf("with force: %v", err)
	}
	if l, err = l.Reload(); err != nil || l.Config.Cloud != CloudChina {
		t.Errorf("with force: %v", err)
	}
}

// TestInitComments: every "#key:" line shows a setting that is right as it stands.
func TestInitComments(t *testing.T) {
	text := string(InitValues{Tenant: "contoso.com", ClientID: appID}.yaml())
	bare := regexp.MustCompile(`(?m)^#([a-z])`).ReplaceAllString(text, "$1")
	bare = regexp.MustCompile(`(?m)^(accounts|resources|mapi): \{\}$`).ReplaceAllString(bare, "$1:")
	bare = regexp.MustCompile(`(?m)^#  ([a-z])`).ReplaceAllString(bare, "  $1")
	h := newHome(t, map[string]string{"broker.yaml": bare})
	l := h.load()
	if _, ok := l.Config.Resources["crm"]; !ok {
		t.Errorf("the example of a resource is not read:\n%s", bare)
	}
	want := Target{Profile: "Outlook", Account: `CONTOSO\svc-archive`, Mode: ModeCached, Policy: PolicyNudge, Notice: true}
	if got := l.Config.MAPI["archive"]; got != want {
		t.Errorf("the example of a target is read as %+v:\n%s", got, bare)
	}
	plain := newHome(t, map[string]string{"broker.yaml": text}).load()
	for _, c := range Diff(plain, l) {
		if !strings.HasPrefix(c.Key, "accounts.") && !strings.HasPrefix(c.Key, "resources.crm.") && !strings.HasPrefix(c.Key, "mapi.archive.") {
			t.Errorf("the commented default differs from the real one: %s", c)
		}
	}
}

func TestInitRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broker.yaml")
	for _, tt := range []struct {
		v    InitValues
		want string
	}{
		{InitValues{Tenant: "x", ClientID: "y"}, "tenant: \"x\" is neither a tenant ID (a GUID) nor a domain such as contoso.com; the Entra admin center shows both under Overview\n" +
			"client_id: \"y\" is not a GUID; use the \"Application (client) ID\" of your app registration"},
		{InitValues{ClientID: appID}, "tenant: is not set; run `broker init`, which asks for it and writes this file (or set BROKER_TENANT)"},
	} {
		err := Init(path, tt.v, false)
		if err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("the file was written")
		}
	}
}

func ownerOnly(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && fi.Mode().Perm() != want {
		t.Errorf("%s has mode %v, want %v", path, fi.Mode().Perm(), want)
	}
}

func TestSaveConsumer(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal + "accounts: {ops: {}}\nmapi: {archive: {profile: x}}\n"})
	l := h.load()
	c := Consumer{
		KeySHA256: []string{digest("1"), digest("e")}, Accounts: []string{"ops", "o'neil@x.com"}, Resources: []string{"graph"}, MAPI: []string{"archive"},
		Rate: Rate{Count: 10, Per: time.Minute, Burst: 20}, Executable: `C:\Program Files\A & B\"x".exe`, Metrics: true,
	}
	path, err := l.SaveConsumer("crm.1", c)
	if err != nil {
		t.Fatal(err)
	}
	if h.plain(path) != "conf.d/crm.1.yaml" {
		t.Errorf("path %q", path)
	}
	ownerOnly(t, path, 0o600)
	ownerOnly(t, filepath.Dir(path), 0o700)
	if l, err = l.Reload(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, l.Config.Consumers["crm.1"]); diff != "" {
		t.Errorf("not what was written: %s", diff)
	}
	// A second time replaces it; the least consumer is read back too.
	least := Consumer{KeySHA256: []string{digest("2")}}
	if _, err := l.SaveConsumer("crm.1", least); err != nil {
		t.Fatal(err)
	}
	if l, err = l.Reload(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(least, l.Config.Consumers["crm.1"]); diff != "" {
		t.Error(diff)
	}
	if err := l.RemoveConsumer("crm.1"); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestSaveConsumerRefuses(t *testing.T) {
	h := newHome(t, map[string]string{
		"broker.yaml":       minimal + "consumers:\n  mine:\n    key_sha256: []\n",
		"conf.d/other.yaml": "# by hand\nconsumers: {theirs: {key_sha256: []}}\n",
		"conf.d/mixed.yaml": "consumers:\n  mixed: {key_sha256: []}\nstore: file\n",
		"conf.d/two.yaml":   "consumers:\n  two: {key_sha256: []}\n  three: {key_sha256: []}\n",
		"conf.d/hand.yaml":  "# by hand\nconsumers: {hand: {key_sha256: []}}\n",
	})
	l := h.load()
	c := Consumer{KeySHA256: []string{digest("1")}}
	tests := []struct {
		name string
		c    Consumer
		kind token.Kind
		want string
	}{
		{"mine", c, token.KindConflict, "Consumer mine is defined in broker.yaml:4, which is yours to edit; change it there, or remove it there first."},
		{"theirs", c, token.KindConflict, "Consumer theirs is defined in conf.d/other.yaml:2, which is yours to edit; change it there, or remove it there first."},
		{"mixed", c, token.KindConflict, "conf.d/mixed.yaml:3 sets store too, so the broker leaves this file alone; edit it by hand, or move that part to another file of conf.d."},
		{"two", c, token.KindConflict, "conf.d/two.yaml:3 sets consumers.three too, so the broker leaves this file alone; edit it by hand, or move that part to another file of conf.d."},
		{"other", c, token.KindConflict, "conf.d/other.yaml:2 sets consumers.theirs too, so the broker leaves this file alone; edit it by hand, or move that part to another file of conf.d."},
		{"No", c, token.KindInvalidRequest, `"No" cannot be the name of a consumer; a name has 1 to 64 characters of a-z, 0-9, ".", "_" and "-", and begins with a letter or a digit, and is no device of Windows such as con or nul.`},
		{"com1.x", c, token.KindInvalidRequest, `"com1.x" cannot be the name of a consumer; a name has 1 to 64 characters of a-z, 0-9, ".", "_" and "-", and begins with a letter or a digit, and is no device of Windows such as con or nul.`},
		{
			"new",
			Consumer{KeySHA256: []string{digest("1")}, Accounts: []string{"ops"}, Resources: []string{"grap"}},
			token.KindInvalidRequest,
			"consumers.new.accounts[0]: there is no account \"ops\"; name an alias from \"accounts\", or write the user name, such as ops@contoso.com; " +
				"consumers.new.resources[0]: there is no resource \"grap\"; did you mean \"graph\"?",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := l.SaveConsumer(tt.name, tt.c)
			if err == nil {
				t.Fatal("accepted")
			}
			if token.KindOf(err) != tt.kind {
				t.Errorf("kind %v of %v", token.KindOf(err), err)
			}
			got := token.AsError(err).Detail
			if got = strings.ReplaceAll(h.plain(got), h.dir+string(filepath.Separator), ""); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
	// A fault in another file is not the caller's.
	h.write("conf.d/broken.yaml", "stor: x\n")
	_, err := l.SaveConsumer("new", c)
	if want := `conf.d/broken.yaml:1: stor: unknown key; did you mean "store"?`; err == nil || h.plain(err.Error()) != want || token.KindOf(err) != token.KindConfiguration {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(h.path("conf.d/broken.yaml")); err != nil {
		t.Fatal(err)
	}
	// A file that holds just the consumer is ours to replace, and to remove.
	if _, err := l.SaveConsumer("hand", c); err != nil {
		t.Error(err)
	}
	if err := l.RemoveConsumer("hand"); err != nil {
		t.Error(err)
	}
	if err := l.RemoveConsumer("hand"); token.KindOf(err) != token.KindNotFound {
		t.Errorf("removed twice: %v", err)
	}
	if err := l.RemoveConsumer("mine"); token.KindOf(err) != token.KindConflict {
		t.Errorf("somebody else's: %v", err)
	}
	if err := l.RemoveConsumer("../broker"); token.KindOf(err) != token.KindNotFound {
		t.Errorf("outside of conf.d: %v", err)
	}
	if _, err := l.Reload(); err != nil {
		t.Errorf("a refusal left something behind: %v", err)
	}
}

// TestSaveConsumerDiskFault: where the file cannot be written the old one stays.
func TestSaveConsumerDiskFault(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal, "conf.d": ""})
	_, err := h.fresh().SaveConsumer("a", Consumer{KeySHA256: []string{digest("1")}})
	if err == nil {
		t.Fatal("written into a file")
	}
	e := token.AsError(err)
	if e.Kind != token.KindInternal && e.Kind != token.KindConfiguration {
		t.Errorf("kind %v: %v", e.Kind, err)
	}
}

// fresh loads broker.yaml alone.
func (h home) fresh() *Loaded {
	o := h.options()
	o.alone = true
	l, err := Load(o)
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}
