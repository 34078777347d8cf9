package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/sandbox"
)

// claimsCanary is a value of the claims that the tests send.
const claimsCanary = "1700000042"

// leakShapes are what may stand nowhere: the marker in every secret of a
// sandbox with Canary, as it is and in base64 at each alignment; the beginning
// of a JWT, in which the marker may have been cut off; keys of ours; the values
// of claims, sent and received.
var leakShapes = []leakShape{
	{"a marked secret", []string{sandbox.CanaryMarker}, regexp.MustCompile(sandbox.CanaryMarker)},
	{"a marked secret in base64", []string{"Q0FOQVJZ", "NBTkFSW", "DQU5BUl"}, regexp.MustCompile(`Q0FOQVJZ|NBTkFSW|DQU5BUl`)},
	{"the beginning of a JWT", []string{"eyJ"}, regexp.MustCompile(`eyJ[A-Za-z0-9_-]{12}`)},
	{"a key", []string{"brk_", "bra_", "brg_"}, regexp.MustCompile(`\b(brk|bra|brg)_[A-Za-z0-9_-]{16}`)},
	{"claims", []string{claimsCanary, "c0ffee00ca01", "capolids"}, regexp.MustCompile(claimsCanary + `|c0ffee00ca01|capolids`)},
}

// leakShape is looked for only where one of its literals is: texts are long.
type leakShape struct {
	what     string
	literals []string
	expr     *regexp.Regexp
}

// mailAddress is one of the sandbox's people.
var mailAddress = regexp.MustCompile(`(?i)(alice|bob)(@|%40)contoso`)

// leaks lists what of a text must not be there.
func leaks(text string) []string {
	var found []string
	for _, shape := range leakShapes {
		if !slices.ContainsFunc(shape.literals, func(l string) bool { return strings.Contains(text, l) }) {
			continue
		}
		if at := shape.expr.FindStringIndex(text); at != nil {
			found = append(found, shape.what+": "+around(text, at))
		}
	}
	return found
}

// mails lists the first mail address of a text, and where it stands.
func mails(text string) []string {
	if !strings.Contains(strings.ToLower(text), "contoso") {
		return nil
	}
	if at := mailAddress.FindStringIndex(text); at != nil {
		return []string{"a mail address: " + around(text, at)}
	}
	return nil
}

func around(text string, at []int) string {
	return fmt.Sprintf("%q", text[max(0, at[0]-120):min(len(text), at[1]+60)])
}

// searched counts how much a search looked at, so that an empty one fails.
type searched struct {
	t     *testing.T
	bytes map[string]int
}

func (s *searched) look(where, text string, withMails bool) {
	s.t.Helper()
	s.bytes[where] += len(text)
	found := leaks(text)
	if withMails {
		found = append(found, mails(text)...)
	}
	for _, f := range found {
		s.t.Errorf("%s holds %s", where, f)
	}
}

// files looks into every file of a world: settings may name accounts, and the
// admin's key has its own place.
func (s *searched) files(w *world) {
	s.t.Helper()
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := string(data)
		if d.Name() == "admin.key" {
			text = strings.ReplaceAll(text, w.admin, "")
		}
		name, _ := filepath.Rel(w.dir, path)
		s.look("file "+name, text, strings.HasPrefix(filepath.ToSlash(name), "state/"))
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// problems looks into every error that callers were given. Claims are theirs to
// have, and so is the name of an account that they asked for.
func (s *searched) problems(w *world) {
	s.t.Helper()
	claims := regexp.MustCompile(`"claims":"(\\.|[^"\\])*"`)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, body := range w.errors {
		s.look("an error", claims.ReplaceAllString(body, ""), false)
		if mailAddress.MatchString(body) && !strings.Contains(body, alice) {
			s.t.Errorf("an error names another's account: %s", body)
		}
	}
}

// looked fails where something was not there to be searched.
func (s *searched) looked(where ...string) {
	s.t.Helper()
	for _, name := range where {
		if s.bytes[name] == 0 {
			s.t.Errorf("nothing was found to search in %s", name)
		}
	}
}

// The search itself: what is planted on purpose is found, wherever it stands.
func TestTheSearchFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{sandbox: sandbox.Config{Canary: true}})
	w.ready()
	access := w.token("graph").AccessToken
	for name, planted := range map[string]string{
		"an access token":  access,
		"its beginning":    access[:40],
		"its end":          access[len(access)-24:],
		"a refresh token":  "1.CANARY-x",
		"a consumer's key": "key " + w.key + " is wrong",
		"the admin's key":  w.admin,
		"claims":           `{"nbf":{"value":"` + claimsCanary + `"}}`,
		"received claims":  `{"capolids":{}}`,
	} {
		if len(leaks(planted)) == 0 {
			t.Errorf("%s is not found", name)
		}
		w.write("state/planted", planted)
		quiet := &testing.T{}
		s := &searched{t: quiet, bytes: map[string]int{}}
		s.files(w)
		if !quiet.Failed() {
			t.Errorf("%s in a file is not found", name)
		}
	}
	if len(mails("account="+alice)) == 0 || len(mails("/v1/accounts/alice%40contoso.example")) == 0 {
		t.Error("a mail address is not found")
	}
	if got := append(leaks(w.log.String()), mails(w.log.String())...); len(got) > 0 {
		t.Errorf("before anything was planted: %v", got)
	}
}

// A token that somebody logs by mistake is caught by the last line of defence,
// in every dress.
func TestATokenThatIsLoggedIsRedacted(t *testing.T) {
	w := newInBubble(t, worldOptions{sandbox: sandbox.Config{Canary: true}, yaml: bubbleOptions().yaml}, func(w *world) {
		w.ready()
		access := w.token("graph").AccessToken
		w.parts.log.Info("got "+access, "token", access, "cause", fmt.Errorf("answer %s of %s", access, alice), "key", w.key,
			"header", http.Header{"Authorization": {"Bearer " + access}})
	})
	if got := append(leaks(w.log.String()), mails(w.log.String())...); len(got) > 0 {
		t.Error(got)
	}
}
