package audit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

func key(account string) token.Key { return token.Key{Account: account, Resource: "graph"} }

// A token is a line when a consumer first gets it, and repeats are counted until
// the minute is over or the broker stops; so it is with refusals.
func TestRepeatsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		stop := l.start(t)
		l.Record(Record{Event: BrokerStarted})
		for range 5 {
			l.Issued("crm", key("ops"), `W/"a"`, "r1")
			l.Issued("other", key("ops"), `W/"a"`, "r2")
			l.Refused("", token.KindUnauthenticated, "GET /v1/token", "r3")
			l.Refused("crm", token.KindDenied, "GET /v1/token", "r4")
		}
		l.Issued("crm", key("bob"), `W/"b"`, "r5")
		synctest.Wait()
		before := []string{
			"broker.started", "token.issued crm #op graph ok", "token.issued other #op graph ok",
			"request.refused unauthenticated GET /v1/token", "request.refused crm denied GET /v1/token", "token.issued crm #bo graph ok",
		}
		if got := events(t, l.dir); !slices.Equal(got, before) {
			t.Fatalf("at once: %q", got)
		}
		time.Sleep(repeatEvery)
		synctest.Wait()
		minute := []string{
			"request.refused.repeated unauthenticated GET /v1/token x4", "request.refused.repeated crm denied GET /v1/token x4",
			"token.repeated crm #op graph ok x4", "token.repeated other #op graph ok x4",
		}
		if got := events(t, l.dir); !slices.Equal(got[6:], minute) {
			t.Fatalf("after a minute: %q", got[6:])
		}
		l.Issued("crm", key("ops"), `W/"a"`, "r6")                // again
		l.Issued("crm", key("ops"), `W/"c"`, "r7")                // renewed
		time.Sleep(2 * repeatEvery)                               // a refusal is forgotten after a minute without one
		l.Refused("crm", token.KindDenied, "GET /v1/token", "r8") // and so a line again
		l.Refused("crm", token.KindDenied, "GET /v1/token", "r9") // counted
		l.Issued("crm", key("ops"), `W/"c"`, "r10")               // a token is not forgotten
		l.Record(Record{Event: BrokerStopped})                    //
		stop()                                                    // writes what is counted
		rest := []string{                                         //
			"token.issued crm #op graph ok", "token.repeated crm #op graph ok x1",
			"request.refused crm denied GET /v1/token", "broker.stopped",
		}
		counted := []string{"request.refused.repeated crm denied GET /v1/token x1", "token.repeated crm #op graph ok x1"}
		got := events(t, l.dir)[10:]
		if len(got) != 6 || !slices.Equal(sorted(got), sorted(append(rest, counted...))) {
			t.Errorf("at the end: %q", got)
		}
		if r := wantWhole(t, l.dir); r.Lines != 16 || r.Open != 0 || r.Lost != 0 {
			t.Errorf("%+v", r)
		}
	})
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// A key is forgotten after whole minutes without a hit, and not at the first flush,
// which may come at once.
func TestAFirstHitIsKept(t *testing.T) {
	tl, n := newTally[string](1, 1), int64(0)
	flush := func() { tl.flush(func(_ string, m int64) { n += m }) }
	if tl.hit("k") != first {
		t.Fatal("known")
	}
	flush()
	if tl.hit("k") != again {
		t.Error("forgotten at once")
	}
	flush()
	flush()
	if n != 1 || tl.hit("k") != first {
		t.Errorf("counted %d, and not forgotten", n)
	}
}

// No hit is lost and none counted twice, whatever runs at the same time.
func TestNothingIsLostInTheCount(t *testing.T) {
	const workers, hits = 8, 20000
	tl := newTally[int](100, 1)
	var total int64
	firsts := make([]int64, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range hits {
				if tl.hit(i%3) == first {
					firsts[w]++
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	count := func(_ int, n int64) { total += n }
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		tl.flush(count)
	}
	tl.flush(count)
	for _, n := range firsts {
		total += n
	}
	if total != workers*hits {
		t.Errorf("%d of %d", total, workers*hits)
	}
	small := newTally[int](1, 1)
	if small.hit(1) != first || small.hit(2) != full || small.hit(1) != again {
		t.Error("a full tally does not say so")
	}
}

// A flood of refusals with ever new routes would be a defect; even then it costs
// neither memory nor disk without bound, and the loss is told.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		for i := range 2 * maxRefused { // nobody writes: the queue is full before the tally is
			l.Refused("", token.KindDenied, fmt.Sprint("route", i), "")
		}
		if got := l.Lost(); got != 2*maxRefused-maxQueue {
			t.Errorf("%d lost", got)
		}
		stop := l.start(t)
		stop()
		r := wantWhole(t, l.dir)
		if r.Lost != 2*maxRefused-maxQueue || r.Lines != maxQueue+1 {
			t.Errorf("%+v", r)
		}
	})
}

// A slow disk holds up nobody, and not the stop either.
func TestNobodyWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		l.disk.lag = time.Hour
		begin := time.Now()
		for i := range 100 {
			l.Issued("crm", key("ops"), fmt.Sprint(i), "r")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(ctx); err == nil || time.Since(begin) != time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		time.Sleep(5 * time.Hour)
	})
}

// A disk that does not confirm what was written holds up no stop, and makes no
// failure of it: the lines are in the file.
func TestTheDiskConfirmsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		l.disk.hang = time.Hour
		l.Issued("crm", key("ops"), "t", "r")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if err := l.Close(ctx); err != nil || time.Since(begin) != time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if r := wantWhole(t, l.dir); r.Lines != 1 || !strings.Contains(l.text.String(), "has not confirmed") {
			t.Errorf("%+v; the log:\n%s", r, l.text)
		}
		time.Sleep(2 * time.Hour)
	})
}

// On a full disk the broker goes on; the log says once that lines are lost, and the
// file how many, as soon as it can.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		stop := l.start(t)
		l.Record(Record{Event: BrokerStarted})
		time.Sleep(2 * time.Second)
		l.disk.set(true)
		for i := range 7 {
			l.Issued("crm", key("ops"), fmt.Sprint(i), "r")
			synctest.Wait()
		}
		f := l.Fault()
		if f == nil || f.Lost != 7 || !strings.Contains(f.Err.Error(), "free space") || !strings.Contains(f.Err.Error(), "audit.jsonl") {
			t.Errorf("%+v", f)
		}
		wantWhole(t, l.dir)
		if n := strings.Count(l.text.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors in the log: %s", n, l.text)
		}
		l.disk.set(false)
		time.Sleep(repeatEvery + 2*syncEvery) // also where nothing else happens
		synctest.Wait()
		if got := events(t, l.dir); !slices.Equal(got, []string{"broker.started", "audit.lost x7"}) {
			t.Errorf("%q", got)
		}
		if l.Fault() != nil || strings.Count(l.text.String(), "level=INFO") != 1 {
			t.Errorf("%+v: %s", l.Fault(), l.text)
		}
		stop()
		if r := wantWhole(t, l.dir); r.Lost != 7 {
			t.Errorf("%+v", r)
		}
	})
}

// The head follows the lines within a second, and never goes before them.
func TestHeadFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		defer l.start(t)()
		l.Record(Record{Event: BrokerStarted})
		synctest.Wait()
		if h, err := readHead(os.DirFS(l.dir)); err != nil || h.Seq != 0 {
			t.Errorf("%+v, %v", h, err)
		}
		l.Record(Record{Event: PolicyChanged})
		time.Sleep(syncEvery + time.Millisecond)
		synctest.Wait()
		h, err := readHead(os.DirFS(l.dir))
		seq, hash := l.Head()
		if err != nil || h.Seq != 2 || h.Hash != wantWhole(t, l.dir).Last.Hash || seq != 2 || hash != h.Hash {
			t.Errorf("%+v, %v; %d %s", h, err, seq, hash)
		}
	})
}

// Switched off, it writes nothing more; switched on again, the chain goes on.
func TestConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		l.Configure(Settings{EventLog: true}) // there is none on this system
		stop := l.start(t)
		l.Record(Record{Event: BrokerStarted})
		l.Issued("crm", key("ops"), "a", "r")
		time.Sleep(time.Minute)
		if _, err := os.Stat(l.dir); err == nil {
			t.Error("there is a log all the same")
		}
		l.Configure(Settings{File: true})
		l.Record(Record{Event: PolicyChanged, Keys: []string{"audit.file"}})
		l.Configure(Settings{})
		l.Refused("", token.KindDenied, "GET /v1/token", "r")
		time.Sleep(time.Minute)
		synctest.Wait()
		if l.w.isOpen() {
			t.Error("the file is still open")
		}
		l.Configure(Settings{File: true})
		l.Record(Record{Event: PolicyChanged, Keys: []string{"audit.file"}})
		stop()
		if got := events(t, l.dir); !slices.Equal(got, []string{"policy.changed audit.file", "policy.changed audit.file"}) {
			t.Errorf("%q", got)
		}
		wantWhole(t, l.dir)
	})
}

// The event log gets everything but tokens, with number and hash; also where the
// file is off. One that refuses is told once.
func TestCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		var mu sync.Mutex
		var got []string
		broken := false
		l.cfg.Copy = func(line Line) error {
			mu.Lock()
			defer mu.Unlock()
			if broken {
				return errFull
			}
			got = append(got, fmt.Sprint(line.Event, " ", line.Account, line.Hash != "", line.Seq > 0))
			return nil
		}
		l.Configure(Settings{File: true, EventLog: true})
		stop := l.start(t)
		l.Record(Record{Event: BrokerStarted})
		l.Issued("crm", key("ops"), "a", "r")
		l.Issued("crm", key("ops"), "a", "r")
		l.Record(Record{Event: "signin.succeeded", Account: "ops"})
		time.Sleep(repeatEvery)
		synctest.Wait()
		mu.Lock()
		broken = true
		mu.Unlock()
		l.Record(Record{Event: "signout"})
		l.Record(Record{Event: "signout"})
		synctest.Wait()
		mu.Lock()
		broken = false
		mu.Unlock()
		l.Configure(Settings{EventLog: true})
		l.Record(Record{Event: "signout", Account: "bob"})
		l.Issued("crm", key("bob"), "b", "r")
		stop()
		if want := []string{"broker.started true true", "signin.succeeded #optrue true", "signout #bofalse false"}; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		if s := l.text.String(); strings.Count(s, "level=ERROR") != 1 || !strings.Contains(s, "missing=2") {
			t.Errorf("%s", s)
		}
	})
}

// Whatever is told, a line stays a line.
func TestRecordsAreBounded(t *testing.T) {
	r := plain(Record{Event: "x", Route: strings.Repeat("é", 400), Consumer: "a\nb\xff", Keys: slices.Repeat([]string{strings.Repeat("k", 400)}, 200)})
	if len(r.Route) > maxText || len(r.Keys) != maxKeys || r.Keys[maxKeys-1] != "and 137 more" || r.Consumer != "a\nb" {
		t.Errorf("%+v", r)
	}
	b, err := encode(&Line{Seq: 1, Prev: noHash, Record: r})
	if err != nil || strings.Count(string(b), "\n") != 1 {
		t.Errorf("%s, %v", b, err)
	}
	if l, err := decode(b[:len(b)-1]); err != nil || l.Consumer != "a\nb" {
		t.Errorf("%+v, %v", l, err)
	}
}

// BenchmarkIssued is what the hot path pays: a token that the consumer has.
func BenchmarkIssued(b *testing.B) {
	l := New(Config{Dir: filepath.Join(b.TempDir(), "audit"), Hash: func(a string) string { return a }})
	l.Configure(Settings{File: true})
	for i := range 100 {
		l.Issued(fmt.Sprint("app-", i), key("ops@contoso.example"), `W/"0123456789abcdef"`, "r")
	}
	k, consumer := key("ops@contoso.example"), "app-42"
	b.ReportAllocs()
	for b.Loop() {
		l.Issued(consumer, k, `W/"0123456789abcdef"`, "r")
	}
}

// BenchmarkRefused is what a wrong key costs beyond its refusal.
func BenchmarkRefused(b *testing.B) {
	l := New(Config{Dir: filepath.Join(b.TempDir(), "audit"), Hash: func(a string) string { return a }})
	l.Configure(Settings{File: true})
	b.ReportAllocs()
	for b.Loop() {
		l.Refused("", token.KindUnauthenticated, "GET /v1/token", "r")
	}
}

func TestIssuedAllocatesNothing(t *testing.T) {
	l := newLogged(t)
	k := key("ops@contoso.example")
	l.Issued("crm", k, "a", "r")
	if n := testing.AllocsPerRun(100, func() { l.Issued("crm", k, "a", "r") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
