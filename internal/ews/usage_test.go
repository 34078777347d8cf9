package ews

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// open is Open with a log that the test can read.
func open(t *testing.T, dir string) (*Usage, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	return Open(t.Context(), dir, slog.New(slog.NewTextHandler(&out, nil))), &out
}

// short is "crm 3: FindItem 2, GetItem 1; …".
func short(r Report) string {
	var all []string
	for _, c := range r.Consumers {
		var ops []string
		for _, o := range c.Operations {
			ops = append(ops, fmt.Sprintf("%s %d", o.Operation, o.Calls))
		}
		all = append(all, fmt.Sprintf("%s %d: %s", c.Name, c.Calls, strings.Join(ops, ", ")))
	}
	return strings.Join(all, "; ")
}

func TestCount(t *testing.T) {
	u, _ := open(t, t.TempDir())
	for consumer, operations := range map[string][]string{
		"crm": {
			"FindItem", "FindItem", "GetItem",
			`"http://schemas.microsoft.com/exchange/services/2006/messages/FindItem"`,
			"http://schemas.microsoft.com/exchange/services/2006/messages/GetItem",
			"GetUserAvailabilityRequest",
		},
		"exec": {"Nonsense", "", "finditem", "FindItem/", `"/"`, "Request"},
		"":     {"SendItem"},
	} {
		for _, o := range operations {
			u.Count(consumer, o)
		}
	}
	if got, want := short(u.Report()), "crm 6: FindItem 3, GetItem 2, GetUserAvailability 1; exec 6: other 6; other 1: SendItem 1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := u.Known(`"x#SetUserOofSettingsRequest"`); got != "SetUserOofSettings" {
		t.Errorf("got %q", got)
	}
}

// TestKnowsEveryOperation: each name of the closed list is counted as itself, with
// and without the URI.
func TestKnowsEveryOperation(t *testing.T) {
	u, _ := open(t, t.TempDir())
	for _, o := range append(Operations(), Other) {
		if u.Known(o) != o || u.Known("http://schemas.microsoft.com/exchange/services/2006/messages/"+o) != o {
			t.Errorf("%s is counted as %s", o, u.Known(o))
		}
	}
}

func TestConsumersAreBounded(t *testing.T) {
	u, _ := open(t, t.TempDir())
	for i := range 3 * maxConsumers {
		u.Count(fmt.Sprintf("c%03d", i), "FindItem")
	}
	r := u.Report()
	if len(r.Consumers) != maxConsumers+1 || r.Consumers[0].Name != Other || r.Consumers[0].Calls != 2*maxConsumers {
		t.Errorf("%d consumers, the first %+v", len(r.Consumers), r.Consumers[0])
	}
}

// Counts outlive the broker; what was counted last is saved at the end.
func TestCountsAreKept(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		u, log := open(t, dir)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- u.Run(ctx) }()
		began := time.Now().UTC()
		u.Count("crm", "FindItem")
		time.Sleep(saveEvery + time.Second)
		synctest.Wait()
		if got := short(reread(t, dir)); got != "crm 1: FindItem 1" {
			t.Errorf("after a minute: %s", got)
		}
		u.Count("crm", "SendItem")
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if err := u.Save(); err != nil { // nothing is left to save
			t.Fatal(err)
		}
		r := reread(t, dir)
		if got := short(r); got != "crm 2: FindItem 1, SendItem 1" {
			t.Errorf("at the end: %s", got)
		}
		c := r.Consumers[0]
		if !r.Since.Equal(began) || !c.Last.Equal(began.Add(saveEvery+time.Second)) || !c.Operations[0].Last.Equal(began) {
			t.Errorf("since %v, last %v, %v", r.Since, c.Last, c.Operations)
		}
		if log.Len() > 0 {
			t.Errorf("logged %s", log)
		}
	})
}

// reread is what another broker would find.
func reread(t *testing.T, dir string) Report {
	t.Helper()
	u, log := open(t, dir)
	if log.Len() > 0 {
		t.Errorf("logged %s", log)
	}
	return u.Report()
}

// What has not changed is not written.
func TestSaveIsIdle(t *testing.T) {
	dir := t.TempDir()
	u, _ := open(t, dir)
	if err := u.Save(); err != nil { // since when is worth a file
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := u.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("written without a change")
	}
	u.Count("crm", "GetItem")
	if err := u.Save(); err != nil {
		t.Fatal(err)
	}
	if got := short(reread(t, dir)); got != "crm 1: GetItem 1" {
		t.Error(got)
	}
}

func TestReset(t *testing.T) {
	dir := t.TempDir()
	u, _ := open(t, dir)
	u.Count("crm", "GetItem")
	if err := u.Reset(); err != nil {
		t.Fatal(err)
	}
	if r := u.Report(); len(r.Consumers) > 0 || r.Since.IsZero() {
		t.Errorf("%+v", r)
	}
	if r := reread(t, dir); len(r.Consumers) > 0 {
		t.Errorf("on the disk: %+v", r)
	}
	u.Count("crm", "GetItem")
	if got := short(u.Report()); got != "crm 1: GetItem 1" {
		t.Error(got)
	}
}

// A damaged file is moved aside, with a warning that holds nothing of it.
func TestDamaged(t *testing.T) {
	for name, content := range map[string]string{
		"empty":       "",
		"cut":         `{"version":1,"since":"2026-11-22T12:00:00Z","consumers":{"crm":{"Find`,
		"other form":  `[]`,
		"version":     `{"version":2,"since":"2026-11-22T12:00:00Z"}`,
		"no since":    `{"version":1}`,
		"negative":    `{"version":1,"since":"2026-11-22T12:00:00Z","consumers":{"crm":{"FindItem":{"calls":-1}}}}`,
		"too large":   `{"version":1,"since":"2026-11-22T12:00:00Z","consumers":{"crm":{"FindItem":{"calls":9223372036854775807}}}}`,
		"no moment":   `{"version":1,"since":"yesterday"}`,
		"a directory": "",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, FileName)
			var err error
			if name == "a directory" {
				err = os.Mkdir(path, 0o700)
			} else {
				err = os.WriteFile(path, []byte(content), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			u, log := open(t, dir)
			if !strings.Contains(log.String(), "level=WARN") || strings.Contains(log.String(), "crm") {
				t.Errorf("logged %q", log)
			}
			u.Count("crm", "FindItem")
			if _, err := os.Stat(filepath.Join(dir, asideName)); err == nil {
				t.Error("moved before anything is written")
			}
			if err := u.Save(); err != nil {
				t.Fatal(err)
			}
			if got := short(reread(t, dir)); got != "crm 1: FindItem 1" {
				t.Error(got)
			}
			if _, err := os.Stat(filepath.Join(dir, asideName)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A newer version knew more operations; this one keeps their number.
func TestUnknownOperationInFile(t *testing.T) {
	dir := t.TempDir()
	content := `{"version":1,"since":"2026-11-22T12:00:00Z","consumers":{"crm":{"FindItem":{"calls":2,"last":"2026-11-22T12:00:00Z"},
		"NewOne":{"calls":3,"last":"2026-11-23T12:00:00Z"},"Newer":{"calls":4,"last":"2026-11-22T13:00:00Z"}}}}`
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	r := reread(t, dir)
	if got := short(r); got != "crm 9: other 7, FindItem 2" {
		t.Error(got)
	}
	if got := r.Consumers[0].Last.Format(time.DateOnly); got != "2026-11-23" {
		t.Error(got)
	}
}

// A disk that does not take the file is one warning, and no loss of counts.
func TestSaveFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "away")
	synctest.Test(t, func(t *testing.T) {
		u, log := open(t, dir)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- u.Run(ctx) }()
		u.Count("crm", "FindItem")
		time.Sleep(10*saveEvery + time.Second)
		synctest.Wait()
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings: %s", n, log)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(saveEvery)
		synctest.Wait()
		if got := short(reread(t, dir)); got != "crm 1: FindItem 1" {
			t.Error(got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

// Everything at the same time loses no count.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	u, _ := open(t, dir)
	const workers, each = 8, 500
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := range each {
				u.Count(fmt.Sprintf("c%d", i%5), "FindItem")
				if i%100 == 0 && w == 0 {
					u.Report()
					if err := u.Save(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wait.Wait()
	if err := u.Save(); err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, c := range reread(t, dir).Consumers {
		sum += c.Calls
	}
	if sum != workers*each {
		t.Errorf("%d calls, want %d", sum, workers*each)
	}
}

// Counting allocates nothing, as it happens in every request of the proxy.
func TestCountAllocatesNothing(t *testing.T) {
	u, _ := open(t, t.TempDir())
	if n := testing.AllocsPerRun(100, func() { u.Count("crm", `"http://schemas.microsoft.com/exchange/services/2006/messages/FindItem"`) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCount(b *testing.B) {
	u := Open(b.Context(), b.TempDir(), slog.New(slog.DiscardHandler))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			u.Count("crm", "FindItem")
		}
	})
}

// FuzzDecode: no content of the file is a panic, and what is taken can be saved
// and read again as it was.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"since":"2026-11-22T12:00:00Z","consumers":{"crm":{"FindItem":{"calls":2,"last":"2026-11-22T12:00:00Z"}}}}`))
	f.Add([]byte(`{"version":1,"since":"0001-01-01T00:00:00Z","consumers":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decode(data)
		if err != nil {
			return
		}
		dir := t.TempDir()
		u, _ := open(t, dir)
		u.fill(s)
		u.dirty.Store(true)
		if err := u.Save(); err != nil {
			t.Fatal(err)
		}
		if got, want := short(reread(t, dir)), short(u.Report()); got != want {
			t.Errorf("saved %s, read %s", want, got)
		}
	})
}
