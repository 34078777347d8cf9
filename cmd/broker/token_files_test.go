package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/audit"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// addFile makes a consumer of alice's that reads its token of graph from a file.
func (w *world) addFile(name, path, format string) answer {
	w.t.Helper()
	return w.call(w.admin, http.MethodPost, "/v1/consumers",
		fmt.Sprintf(`{"name":%q,"accounts":[%q],"resources":["graph"],"sink":%q,"sink_format":%q}`, name, alice, path, format))
}

// fileHolds waits until the file has this text, or, with "", is gone.
func (w *world) fileHolds(when, path, want string) {
	w.t.Helper()
	w.eventually("the token file "+when, func() bool {
		got, err := os.ReadFile(path)
		if want == "" {
			return errors.Is(err, os.ErrNotExist)
		}
		return err == nil && string(got) == want
	})
}

// A token file comes with its consumer, follows sign-out and sign-in, and goes
// with the consumer and with the broker.
func TestTokenFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ready()
	dir := t.TempDir()
	raw, header := filepath.Join(dir, "token"), filepath.Join(dir, "header")
	for path, format := range map[string]string{raw: "raw", header: "header"} {
		if a := w.addFile(filepath.Base(path), path, format); a.status != http.StatusCreated {
			t.Fatalf("%s: %d %s", path, a.status, a.body)
		}
	}
	token := func() string { return w.token("graph").AccessToken }
	w.fileHolds("comes", raw, token()+"\n")
	w.fileHolds("comes", header, "Authorization: Bearer "+token()+"\n")
	if err := ownerfile.Audit(raw); err != nil {
		t.Error(err)
	}
	w.restart()
	w.fileHolds("after a restart", raw, token()+"\n")

	if a := w.call(w.admin, http.MethodDelete, "/v1/consumers/header", ""); a.status != http.StatusNoContent {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.fileHolds("goes with its consumer", header, "")
	w.call(w.admin, http.MethodDelete, "/v1/accounts/"+alice, "")
	w.fileHolds("goes with the sign-in", raw, "")
	w.eventually("a warning", func() bool {
		var s httpapi.Status
		w.call(w.admin, http.MethodGet, "/v1/status", "").into(&s)
		return len(s.Warnings) == 1 && strings.Contains(s.Warnings[0], "The token file "+raw+" of consumer token is not there: ")
	})
	w.signIn(alice)
	w.fileHolds("comes with the sign-in", raw, token()+"\n")
	w.stop()
	w.fileHolds("goes with the broker", raw, "")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	issued, err := audit.Tail(auditDir(w.path("state")), 100, func(l audit.Line) bool { return l.Event == audit.TokenIssued && l.Consumer == "token" })
	if err != nil || len(issued) == 0 || issued[0].RequestID != "" || issued[0].Resource != "graph" {
		t.Errorf("the audit log has of the file's tokens: %+v, %v", issued, err)
	}
	if _, err := os.Stat(w.path("state/" + tokenFileList)); err == nil {
		t.Error("the list of token files is left behind")
	}
}

// What a consumer's file may not be is said when the consumer is made.
func TestATokenFileInABadPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	foreign := w.path("precious")
	w.write("precious", "mine")
	for path, want := range map[string]string{
		foreign:                    "is there already, and no token file of this broker; delete it, or name another file.",
		w.path("no/token"):         "is in a directory that does not exist",
		filepath.Dir(w.path("no")): "is not a file",
	} {
		p := w.addFile("crm", path, "raw").problem()
		if p.Code != httpapi.ProblemCodeInvalidRequest || !strings.Contains(p.Detail, want) {
			t.Errorf("%s: %+v", path, p)
		}
	}
	if got := w.read("precious"); got != "mine" {
		t.Errorf("the file of somebody else: %q", got)
	}
}
