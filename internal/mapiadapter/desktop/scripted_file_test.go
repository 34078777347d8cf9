package desktop

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// writeScript writes a script as its documentation says: beside, then renamed.
func writeScript(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", []byte(content), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, path string) *Scripted {
	t.Helper()
	s, err := LoadScript(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// did are the acts of the script, each in a word, with its reason.
func did(t *testing.T, path string) string {
	t.Helper()
	acts, err := ReadActs(path)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, a := range acts {
		if a.By == "" || a.On.IsZero() {
			t.Errorf("%+v", a)
		}
		words = append(words, strings.TrimSpace(a.Did+" "+a.Reason))
	}
	return strings.Join(words, ", ")
}

// Every key of the format reaches the script.
func TestParseScript(t *testing.T) {
	read, err := parseScript("s.json", []byte(`{
		"session": "locked", "in_use": true, "host": "H", "account": "A\\b", "sid": "S-1",
		"outlook": true, "bitness": "x86", "new_outlook": true, "migrating": true,
		"profiles": ["P", "Q"], "default_profile": "Q", "asks_profile": true, "running": "P", "elsewhere": "Q",
		"sign_in_needed": true, "closed": 1, "answered": 2, "renewed": 3,
		"start": {"does": "crashes", "after": "5s", "exit_code": 3, "closed_after": "10m"},
		"send": {"does": "nothing", "after": "2s"},
		"notice": {"answer": "not_now", "after": "1s"},
		"services": {"a.b": {"account": "LocalSystem", "bitness": "arm64"}, "start": {}}
	}`))
	want := document{closed: 1, answered: 2, renewed: 3, script: Script{
		Host: "H", Account: `A\b`, SID: "S-1", Seat: SeatLocked, InUse: true,
		Installation: Installation{Bitness: X86, NewInUse: true, Migrating: true},
		Profiles:     Profiles{Names: []string{"P", "Q"}, Default: "Q", Asks: true},
		Services:     map[string]Service{"a.b": {Account: "LocalSystem", Bitness: ARM64}, "start": {}},
		Running:      "P", Elsewhere: "Q", SignInNeeded: true,
		Start:  StartScript{Does: Crashes, After: 5 * time.Second, ExitCode: 3, ClosedAfter: 10 * time.Minute},
		Send:   SendScript{Does: SendsNothing, After: 2 * time.Second},
		Notice: NoticeScript{Answer: AnswerNotNow, After: time.Second},
	}}
	if err != nil || !reflect.DeepEqual(read, want) {
		t.Errorf("got  %+v, %v\nwant %+v", read, err, want)
	}
	read, err = parseScript("s.json", []byte(`{"outlook": false, "profiles": []}`))
	if err != nil || !read.script.NoOutlook || read.script.whole().Installation.Path != "" || len(read.script.whole().Profiles.Names) != 0 {
		t.Errorf("%+v, %v", read, err)
	}
	// The documentation names every key, and every word for what Outlook does.
	for _, keys := range scriptKeys {
		for _, key := range keys {
			if source, _ := os.ReadFile("scripted_acts.go"); key != "*" && len(source) > 0 && !strings.Contains(string(source), `"`+key+`"`) {
				t.Errorf("the documentation of LoadScript does not say %q", key)
			}
		}
	}
}

func TestParseScriptErrors(t *testing.T) {
	for content, want := range map[string]string{
		``:                               `s.json:1 is no JSON: unexpected end of JSON input`,
		`[]`:                             `s.json:1 is no JSON object`,
		`"x"`:                            `s.json:1 is no JSON object`,
		"{\n\"session\": \"active\",\n}": `s.json:3 is no JSON: invalid character '}'`,
		"{} {}":                          `s.json:1 is no JSON: invalid character '{' after top-level value`,
		"{\n\n\"sesion\": \"active\"}":   `s.json:3: sesion is no key of a script; there are session, in_use, `,
		`{"Session": "active"}`:          `s.json:1: Session is no key of a script; `,
		"{\"start\": {\n\"doing\": 1}}":  `s.json:2: start.doing is no key of a script; there are does, after, exit_code, closed_after`,
		`{"services": {"a": {"x": 1}}}`:  `s.json:1: services.a.x is no key of a script; there are account, bitness`,
		"{\"host\": \"a\",\n\"sid\": \"\",\n\"host\": \"b\"}":                   `s.json:3: host is there twice, first on line 1`,
		"{\"in_use\": true,\n\"session\": \"asleep\"}":                          `s.json:2: session is "asleep", which is none of active, locked, disconnected, none, service`,
		"{\"start\": {\n\n\"does\": \"explodes\"}}":                             `s.json:3: start.does is "explodes", which is none of connects, hangs, `,
		`{"start": {"does": "renews"}}`:                                         `s.json:1: start.does is "renews", which is none of `,
		`{"send": {"does": "connects"}}`:                                        `s.json:1: send.does is "connects", which is none of renews, nothing`,
		`{"notice": {"answer": "yes"}}`:                                         `s.json:1: notice.answer is "yes", which is none of none, ok, not_now`,
		`{"bitness": "x32"}`:                                                    `s.json:1: bitness is "x32", which is none of x86, x64, arm64`,
		"{\"services\": {\"a.b\": {\n\"bitness\": \"x32\"}}}":                   `s.json:2: services.a.b.bitness is "x32", which is none of`,
		"{\"start\": {\n\"after\": \"soon\"}}":                                  `s.json:2: start.after is "soon", which is no time such as "5s"`,
		`{"start": {"closed_after": "-5s"}}`:                                    `s.json:1: start.closed_after is "-5s", which is no time`,
		"{\"host\": \"x\",\n\"start\": {\"after\": 5}}":                         `s.json:2: start.after is a number; it has to be a string`,
		"{\n\"in_use\": \"yes\"}":                                               `s.json:2: in_use is a string; it has to be a bool`,
		"{\n\"profiles\": \"Outlook\"}":                                         `s.json:2: profiles is a string; it has to be a slice`,
		"{\n\"session\": {\"a\": [1, {\"b\": 2, \"b\": 2}]}}":                   `s.json:2: session is a object; it has to be a string`,
		"{\n\"closed\": 1.5}":                                                   `s.json:2: closed is a number 1.5; it has to be a int`,
		`{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`: `s.json:1 is no JSON: `,
	} {
		if _, err := parseScript("s.json", []byte(content)); err == nil || !strings.Contains(err.Error(), "the script "+want) {
			t.Errorf("%.80q:\n got %v\nwant %s", content, err, want)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add([]byte(`{"session": "locked", "start": {"does": "hangs", "after": "5s"}, "services": {"a": {"account": "b"}}}`))
	f.Add([]byte(`{"profiles": ["a", {"b": [null]}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		read, err := parseScript("s.json", content)
		if err != nil {
			if !strings.Contains(err.Error(), "the script s.json:") {
				t.Errorf("an error without its place: %v", err)
			}
			return
		}
		if !json.Valid(content) {
			t.Errorf("took %q", content)
		}
		_, _ = NewScripted(read.script, nil).Start(t.Context(), "Outlook")
	})
}

// A script file changes the world while it is looked at.
func TestLoadScript(t *testing.T) {
	path := filepath.Join(t.TempDir(), "world.json")
	writeScript(t, path, `{"start": {"after": "20s"}, "closed": 7}`)
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := load(t, path)
		for _, m := range []struct {
			script string // written after a minute
			want   string // seen then
		}{
			{`{"running": "Other"}`, "classic/1, Other, 500, cache 1m0s"},
			{`{"running": "Other", "session": "locked"}`, "classic/1, Other, 500, cache 1m0s"},
			{`{"running": "Other", "renewed": 1}`, "classic/1, Other, 500, cache 3m0s"},
			{`{"running": "Other", "renewed": 1, "sign_in_needed": true}`, "classic/1, Other, 300, asks sign_in, cache 3m0s"},
			{`{"running": "Other", "renewed": 1, "sign_in_needed": true, "answered": 1}`, "classic/1, Other, 500, cache 5m0s"},
			{`{"running": "Other", "renewed": 1, "closed": 1}`, "cache 5m0s"},
			{``, "cache 5m0s"}, // just being written
			{`{"elsewhere": "Outlook"}`, "classic/2, cache 5m0s"},
			{`{"session": "none"}`, errNobody.Error()},
			{`{}`, "cache 5m0s"},
		} {
			time.Sleep(time.Minute)
			writeScript(t, path, m.script)
			if got := seen(t, s, begin); got != m.want {
				t.Errorf("%s:\n got %s\nwant %s", m.script, got, m.want)
			}
		}
		// What is wrong is said by every call, and the world stays as it was.
		writeScript(t, path, `{"x": 1}`)
		_, started := s.Start(t.Context(), "Outlook")
		_, shown := s.Notice(t.Context(), Notice{})
		_, looked := s.Look(t.Context(), Want{})
		for _, err := range []error{started, shown, looked, s.SendAndReceive(t.Context(), "Outlook")} {
			if err == nil || !strings.Contains(err.Error(), path+":1: x is no key") {
				t.Errorf("got %v", err)
			}
		}
		os.Remove(path)
		if _, err := s.Look(t.Context(), Want{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
		writeScript(t, path, `{}`)
		start(t, s)
		send(t, s)
		if _, err := s.Notice(t.Context(), Notice{}); err != nil {
			t.Error(err)
		}
		refused(RefusedRunning, 1)(t, s)
		time.Sleep(time.Minute)
		writeScript(t, path, `{"closed": 1, "start": {"does": "fails"}}`)
		if _, err := s.Start(t.Context(), "Outlook"); !errors.Is(err, errStartFailed) {
			t.Error(err)
		}
		if got := did(t, path); got != "end, start, send, notice, violate already_running, refuse already_running, end, fail" {
			t.Error(got)
		}
	})
}

func TestLoadScriptErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "world.json")
	if _, err := LoadScript(path, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	writeScript(t, path, `{"session": 1}`)
	if _, err := LoadScript(path, nil); err == nil || !strings.Contains(err.Error(), path+":1: session is a number") {
		t.Errorf("got %v", err)
	}
	writeScript(t, path, `{}`)
	writeScript(t, ActsPath(path), "{\n")
	if _, err := LoadScript(path, nil); err == nil || !strings.Contains(err.Error(), ActsPath(path)) {
		t.Errorf("got %v", err)
	}
	if acts, err := ReadActs(filepath.Join(t.TempDir(), "no.json")); err != nil || len(acts) != 0 {
		t.Errorf("%v, %v", acts, err)
	}
	// What cannot be written down is not done in silence.
	os.Remove(ActsPath(path))
	s := load(t, path)
	if err := os.Mkdir(ActsPath(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(t.Context(), "Outlook"); err == nil || !strings.Contains(err.Error(), ActsPath(path)) {
		t.Errorf("got %v", err)
	}
}

// Several processes share the world of one file: what one starts runs for the
// others, and goes on when that one has ended.
func TestScriptedShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "world.json")
	writeScript(t, path, `{"start": {"after": "20s"}, "send": {"after": "2s"}}`)
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		one, two := load(t, path), load(t, path)
		start(t, one)
		time.Sleep(time.Minute)
		three := load(t, path) // after a restart
		for i, s := range []*Scripted{one, two, three} {
			if got := seen(t, s, begin); got != "classic/1, Outlook, 500, cache 20s" {
				t.Errorf("%d sees %s", i, got)
			}
		}
		a, _ := one.Look(t.Context(), Want{})
		b, _ := three.Look(t.Context(), Want{})
		if !reflect.DeepEqual(a.Processes[0].PID, b.Processes[0].PID) || !a.Processes[0].StartedOn.Equal(b.Processes[0].StartedOn) {
			t.Errorf("%+v and %+v", a.Processes, b.Processes)
		}
		refused(RefusedRunning, 1)(t, two)
		send(t, three)
		time.Sleep(time.Minute)
		if got := seen(t, one, begin); got != "classic/1, Outlook, 500, cache 1m2s" {
			t.Error(got)
		}
		two.CloseByPerson()
		if got := seen(t, three, begin); got != "cache 1m2s" {
			t.Error(got)
		}
		if got := seen(t, one, begin); got != "cache 1m2s, ended 0 2m0s" { // one started it
			t.Error(got)
		}
		if got := did(t, path); got != "start, violate already_running, refuse already_running, send, end" {
			t.Error(got)
		}
		if one.Starts() != 1 || two.Starts() != 0 || three.Starts() != 0 || three.Sends() != 1 {
			t.Error("each counts its own")
		}
		// A logoff that nobody was there to see ends it too.
		start(t, two)
		writeScript(t, path, `{"session": "none"}`)
		load(t, path)
		writeScript(t, path, `{}`)
		if got := seen(t, load(t, path), begin); got != "cache 1m2s" {
			t.Error(got)
		}
	})
}

// Two that start at the same moment are seen by who started first.
func TestScriptedTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "world.json")
	writeScript(t, path, `{}`)
	one, two := load(t, path), load(t, path)
	start(t, one)
	hidden := ActsPath(path) + ".hidden" // as if two looked just before
	if err := os.Rename(ActsPath(path), hidden); err != nil {
		t.Fatal(err)
	}
	start(t, two)
	if _, err := one.Look(t.Context(), Want{}); err != nil {
		t.Fatal(err)
	}
	if noted := one.Violations(); len(noted) != 1 || noted[0].Reason != ViolatedTwice {
		t.Errorf("%+v", noted)
	}
}

// scriptVictim makes TestScriptVictim start an Outlook in the world of the file
// world.json in its working directory, and stay.
const scriptVictim = "BROKER_TEST_SCRIPT_VICTIM"

// TestScriptVictim is the process that TestScriptedOutlivesKill kills. By itself
// it tests nothing.
func TestScriptVictim(t *testing.T) {
	if os.Getenv(scriptVictim) == "" {
		return
	}
	s := load(t, "world.json")
	start(t, s)
	fmt.Println("started")
	select {}
}

// A killed process leaves its Outlook running, as on Windows.
func TestScriptedOutlivesKill(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "world.json")
	writeScript(t, path, `{}`)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.CommandContext(t.Context(), self, "-test.run=^TestScriptVictim$")
	victim.Dir, victim.Env = dir, append(os.Environ(), scriptVictim+"=1")
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "started"; {
	}
	victim.Process.Kill()
	victim.Wait()
	refused(RefusedRunning, 1)(t, load(t, path))
	if got := did(t, path); got != "start, violate already_running, refuse already_running" {
		t.Error(got)
	}
}

// Here says who the processes of a world run as, whoever is logged on.
func TestScriptedHere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.json")
	for seat, interactive := range map[Seat]bool{
		SeatActive: true, SeatLocked: true, SeatDisconnected: true, SeatNobody: false, SeatService: false,
	} {
		writeScript(t, path, fmt.Sprintf(`{"session": %q, "host": "H", "account": "A\\b", "sid": "S-1"}`, seat))
		want := Where{SID: "S-1", Account: `A\b`, Host: "H", Interactive: interactive}
		if interactive {
			want.SessionID = ownSessionID
		}
		if here, err := load(t, path).Here(t.Context()); err != nil || here != want {
			t.Errorf("%s: %+v, %v", seat, here, err)
		}
	}
	s := load(t, path)
	writeScript(t, path, "{")
	if _, err := s.Here(t.Context()); err == nil {
		t.Error("a script that cannot be read has no account")
	}
}
