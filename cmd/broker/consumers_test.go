package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// What the list says of a consumer besides its rights.
func TestConsumerRows(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	minute := now.Add(time.Minute)
	refused := httpapi.Consumer{Executable: "/bin/crm", LastRefusal: "Not yours.", LastRefusalAt: now.Add(-time.Minute)}
	for _, c := range []struct {
		in         httpapi.Consumer
		last, note string
	}{
		{httpapi.Consumer{}, "", ""},
		{httpapi.Consumer{Note: "nightly reports"}, "", "nightly reports"},
		{httpapi.Consumer{LeaseEndsAt: minute}, "", "leased, ends in 1 min"},
		{httpapi.Consumer{LeaseEndsAt: minute, Note: "exec of report.sh"}, "", "exec of report.sh, ends in 1 min"},
		{
			httpapi.Consumer{LeaseEndsAt: minute, Note: "exec of report.sh", SameAs: "crm", LastRefusal: "Not yours.", LastRefusalAt: now.Add(-time.Minute)},
			"", "exec of report.sh, with the rights of crm, ends in 1 min; refused 1 min ago: Not yours.",
		},
		{refused, "", "refused 1 min ago: Not yours."},
		{httpapi.Consumer{LastRefusal: "Not yours.", LastRefusalAt: now.Add(-25 * time.Hour)}, "", ""},
		{httpapi.Consumer{LastAccount: "ops", LastResource: "graph"}, "graph of ops", ""},
		{httpapi.Consumer{LastAccount: "ops", LastResource: "graph", LastProgram: filepath.Join("opt", "sync")}, "graph of ops, by sync", ""},
		{httpapi.Consumer{LastProgram: filepath.Join("opt", "evil")}, "by evil", ""},
	} {
		row := consumerRows(now, []httpapi.Consumer{c.in})[1]
		if got := row[len(row)-2:]; got[0] != c.last || got[1] != c.note {
			t.Errorf("got %q, want %q and %q", got, c.last, c.note)
		}
	}
}

func TestLimits(t *testing.T) {
	sum := strings.Repeat("a", 64)
	for _, c := range []struct {
		in   httpapi.Consumer
		want string
	}{
		{httpapi.Consumer{}, ""},
		{httpapi.Consumer{Rate: "50/s", Hours: "mon-fri 07:00-19:00"}, "50/s, mon-fri 07:00-19:00"},
		{httpapi.Consumer{Executable: filepath.Join("opt", "sync"), Sha256: sum, User: "svc"}, "only by sync (aaaaaaaa…), only as svc"},
		{httpapi.Consumer{Executable: filepath.Join("opt", "sync")}, "only by sync"},
		{httpapi.Consumer{Sha256: sum}, "only by the file aaaaaaaa…"},
		{httpapi.Consumer{Sink: "/run/t"}, "kept in /run/t"},
	} {
		if got := strings.Join(limits(c.in), ", "); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// What --executable, --sha256 auto and --sink become before the broker is asked.
func TestCheckConsumer(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("sync", []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("sync")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("program"))
	in := httpapi.ConsumerRequest{Name: "crm", Accounts: []string{"ops"}, Resources: []string{"graph"}, Executable: "sync", Sha256: "auto", Sink: "token"}
	if err := checkConsumer(&in); err != nil {
		t.Fatal(err)
	}
	if in.Executable != here || in.Sha256 != hex.EncodeToString(sum[:]) || in.Sink != filepath.Join(filepath.Dir(here), "token") {
		t.Errorf("%+v", in)
	}
	for want, change := range map[string]func(*httpapi.ConsumerRequest){
		"name it too":     func(c *httpapi.ConsumerRequest) { c.Executable = "" },
		"cannot be read":  func(c *httpapi.ConsumerRequest) { c.Executable = "nosuch" },
		"exactly one":     func(c *httpapi.ConsumerRequest) { c.Resources = []string{"graph", "ews"} },
		"raw, json":       func(c *httpapi.ConsumerRequest) { c.SinkFormat = "xml" },
		"goes with":       func(c *httpapi.ConsumerRequest) { c.Sink, c.SinkFormat = "", "raw" },
		"--account":       func(c *httpapi.ConsumerRequest) { c.Accounts = nil },
		"cannot be the n": func(c *httpapi.ConsumerRequest) { c.Name = "../crm" },
	} {
		in := httpapi.ConsumerRequest{Name: "crm", Accounts: []string{"ops"}, Resources: []string{"graph"}, Executable: "sync", Sha256: "auto", Sink: "token"}
		change(&in)
		if err := checkConsumer(&in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
