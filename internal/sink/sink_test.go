package sink

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// life is how long the tokens of these tests are valid.
const life = time.Hour

// desk gives tokens as a test says. Its clock is the bubble's.
type desk struct {
	mu      sync.Mutex
	n       int // of the current token
	expires time.Time
	err     error
	denied  error
	changed chan struct{}
	asked   int
	written []string
}

func newDesk() *desk { d := &desk{changed: make(chan struct{})}; d.renew(); return d }

// renew publishes another token.
func (d *desk) renew() { d.become(func() { d.n++; d.expires = time.Now().Add(life) }) }

// fail lets there be no token any more, and deny none for this consumer.
func (d *desk) fail(err error) { d.become(func() { d.err = err }) }
func (d *desk) deny(err error) { d.mu.Lock(); d.denied = err; d.mu.Unlock() }

func (d *desk) become(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *desk) Allowed(context.Context, string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.denied
}

// Token renews, as the cache does, where less is left than asked for.
func (d *desk) Token(_ context.Context, consumer string, min time.Duration) (Current, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.denied != nil || d.err != nil {
		if d.denied == nil && time.Now().Before(d.expires) && token.AsError(d.err).Kind.Retryable() {
			return d.current(consumer), nil
		}
		return Current{}, errors.Join(d.denied, d.err)
	}
	if time.Until(d.expires) <= min {
		d.n++
		d.expires = time.Now().Add(life)
	}
	return d.current(consumer), nil
}

func (d *desk) current(consumer string) Current {
	text := "token-" + consumer + "-" + string(rune('0'+d.n))
	return Current{
		Access: token.NewSecret(text), JSON: token.NewSecret(`{"access_token":"` + text + `"}`), ETag: text,
		ExpiresOn: d.expires, Key: token.Key{Account: "ops", Resource: "graph"},
	}
}

func (d *desk) Changed(ctx context.Context, c Current) error {
	for {
		d.mu.Lock()
		same := c.ETag[len(c.ETag)-1] == byte('0'+d.n) && (d.err == nil || token.AsError(d.err).Kind.Retryable())
		changed := d.changed
		d.mu.Unlock()
		if !same {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *desk) Written(_ string, c Current) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written = append(d.written, c.ETag)
}

// rig is a keeper with files in a directory of the test.
type rig struct {
	*Keeper
	t    *testing.T
	dir  string
	desk *desk
	log  *bytes.Buffer
	end  func()
}

func newRig(t *testing.T, dir string) *rig {
	t.Helper()
	r := &rig{t: t, dir: dir, desk: newDesk(), log: &bytes.Buffer{}}
	r.Keeper = New(Config{Tokens: r.desk, List: filepath.Join(dir, "token-files.json"), Log: slog.New(slog.NewTextHandler(r.log, nil))})
	return r
}

func (r *rig) file(name string) File {
	return File{Consumer: "crm", Path: filepath.Join(r.dir, name), Format: config.SinkRaw}
}

// start runs the keeper until stop.
func (r *rig) start(files ...File) {
	r.Configure(files)
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.end = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
	synctest.Wait()
}

// holds wants the file to have this text; "" is no file.
func (r *rig) holds(when, name, want string) {
	r.t.Helper()
	synctest.Wait()
	got, err := os.ReadFile(filepath.Join(r.dir, name))
	if want == "" && errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil || string(got) != want {
		r.t.Errorf("%s: %s holds %q (%v), want %q\n%s", when, name, got, err, want, r.log)
	}
}

// says wants the one problem to hold this; "" is no problem.
func (r *rig) says(when, want string) {
	r.t.Helper()
	problems := r.Problems()
	if want == "" {
		if len(problems) > 0 {
			r.t.Errorf("%s: %+v", when, problems)
		}
		return
	}
	if len(problems) != 1 || !strings.Contains(problems[0].Detail, want) {
		r.t.Errorf("%s: %+v, want %q", when, problems, want)
	}
}

func TestFormats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		raw, asJSON, header := r.file("raw"), r.file("json"), r.file("header")
		asJSON.Format, header.Format, header.Consumer = config.SinkJSON, config.SinkHeader, "erp"
		r.start(raw, asJSON, header)
		r.holds("raw", "raw", "token-crm-1\n")
		r.holds("json", "json", `{"access_token":"token-crm-1"}`+"\n")
		r.holds("header", "header", "Authorization: Bearer token-erp-1\n")
		for _, f := range []File{raw, asJSON, header} {
			if err := ownerfile.Audit(f.Path); err != nil {
				t.Error(err)
			}
		}
		r.says("all is well", "")
		if slices.Sort(r.desk.written); !slices.Equal(r.desk.written, []string{"token-crm-1", "token-crm-1", "token-erp-1"}) {
			t.Errorf("written %v", r.desk.written)
		}
		r.end()
		left, err := os.ReadDir(r.dir)
		if err != nil || len(left) != 0 {
			t.Errorf("after the end there is %v, %v", left, err)
		}
		if strings.Contains(r.log.String(), "token-") && strings.Contains(r.log.String(), "token-crm") {
			t.Errorf("the log: %s", r.log)
		}
	})
}

// The file follows the token, and is renewed ten minutes ahead of the end by
// itself.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		r.start(r.file("t"))
		r.holds("at first", "t", "token-crm-1\n")
		time.Sleep(20 * time.Minute)
		r.desk.renew()
		r.holds("renewed by others", "t", "token-crm-2\n")
		time.Sleep(life - ahead - time.Second)
		r.holds("a second before it is time", "t", "token-crm-2\n")
		time.Sleep(2 * time.Second)
		r.holds("after", "t", "token-crm-3\n")
		if r.desk.asked > 5 {
			t.Errorf("asked %d times", r.desk.asked)
		}
		r.end()
		r.holds("after the end", "t", "")
	})
}

// While the authority is away the file keeps the token as long as it is valid,
// and not longer; then the next one comes by itself.
func TestTheAuthorityIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		r.start(r.file("t"))
		away := token.NewError(token.KindUnavailable, "", "Entra cannot be reached.")
		r.desk.fail(away)
		time.Sleep(life - time.Second)
		r.holds("while it is valid", "t", "token-crm-1\n")
		time.Sleep(2 * time.Second)
		r.holds("when it has ended", "t", "")
		r.says("when it has ended", "is not there: Entra cannot be reached.")
		r.desk.become(func() { r.desk.err = nil; r.desk.n++; r.desk.expires = time.Now().Add(life) })
		time.Sleep(lookEvery)
		r.holds("when it is back", "t", "token-crm-2\n")
		r.says("when it is back", "")
		r.end()
		if n := strings.Count(r.log.String(), "not as it should be"); n != 1 {
			t.Errorf("said %d times:\n%s", n, r.log)
		}
	})
}

// A sign-out takes the file away at once, a sign-in brings it back at once.
func TestSignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		r.start(r.file("t"))
		r.desk.fail(token.NewError(token.KindSignInRequired, "", "Nobody is signed in as ops; run: broker login"))
		r.holds("after the sign-out", "t", "")
		r.says("after the sign-out", "t of consumer crm is not there: Nobody is signed in as ops; run: broker login.")
		r.desk.become(func() { r.desk.err = nil; r.desk.n++ })
		r.Poke()
		r.holds("after the sign-in", "t", "token-crm-2\n")
		r.end()
	})
}

// Hours end with the minute, also between two tokens.
func TestThePolicyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		r.start(r.file("t"))
		r.desk.deny(token.NewError(token.KindDenied, "", `Consumer "crm" may not have a token at this time of the week.`))
		time.Sleep(lookEvery + time.Second)
		r.holds("outside its hours", "t", "")
		r.desk.deny(nil)
		time.Sleep(lookEvery)
		r.holds("within them", "t", "token-crm-1\n")
		r.end()
	})
}

// Tokens of a short life do not make the keeper run hot.
func TestAShortLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		r.desk.expires = time.Now().Add(time.Minute)
		r.desk.err = token.NewError(token.KindThrottled, "", "Slow down.") // no better one is to be had
		r.start(r.file("t"))
		time.Sleep(time.Minute - time.Second)
		r.holds("a short one", "t", "token-crm-1\n")
		if r.desk.asked > 3 {
			t.Errorf("asked %d times", r.desk.asked)
		}
		r.end()
	})
}

// A file that somebody deletes comes back; files come and go with the settings.
func TestConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		a, b := r.file("a"), r.file("b")
		r.start(a)
		if err := os.Remove(a.Path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery + time.Second)
		r.holds("deleted", "a", "token-crm-1\n")
		r.Configure([]File{a, b})
		r.holds("added", "b", "token-crm-1\n")
		header := a
		header.Format = config.SinkHeader
		r.Configure([]File{header})
		r.holds("another format", "a", "Authorization: Bearer token-crm-1\n")
		r.holds("removed", "b", "")
		other := header
		other.Consumer = "erp"
		r.Configure([]File{other})
		r.holds("another consumer", "a", "Authorization: Bearer token-erp-1\n")
		r.Configure([]File{other, {Consumer: "crm", Path: a.Path, Format: config.SinkRaw}})
		r.holds("two of one path", "a", "Authorization: Bearer token-erp-1\n")
		r.says("two of one path", "belongs to consumer erp too")
		r.Configure(nil)
		r.holds("none", "a", "")
		r.says("none", "")
		r.end()
	})
}

// What a crash left behind is replaced, or removed where it is of no use.
func TestAfterACrash(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a token is there", nil, "token-crm-1\n"},
		{"nobody is signed in", token.NewError(token.KindSignInRequired, "", "Sign in."), ""},
		{"the authority is away", token.NewError(token.KindUnavailable, "", "Entra cannot be reached."), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, t.TempDir())
				crashed, gone := r.file("crashed"), r.file("gone")
				leftover := filepath.Join(r.dir, ".crashed.12345")
				for _, path := range []string{crashed.Path, gone.Path, leftover} {
					if err := os.WriteFile(path, []byte("old token"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				for _, path := range []string{crashed.Path, gone.Path} {
					if err := r.list.add(path); err != nil {
						t.Fatal(err)
					}
				}
				r.desk.err = c.err
				if c.err != nil {
					r.desk.expires = time.Now() // nothing is cached
				}
				r.start(crashed)
				r.holds("crashed", "crashed", c.want)
				r.holds("gone", "gone", "")
				r.holds("half written", ".crashed.12345", "")
				r.end()
			})
		})
	}
}

// Nothing of others is written over, and a bad place is told.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("foreign", "precious")
		write("empty", "")
		if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
			t.Fatal(err)
		}
		type place struct{ name, want string }
		places := []place{
			{"empty", ""},
			{"new", ""},
			{"foreign", "is there already, and no token file of this broker"},
			{"folder", "is not a file"},
			{"no/t", "is in a directory that does not exist"},
			{"foreign/t", "is not in a directory"},
		}
		if runtime.GOOS != "windows" {
			for name, mode := range map[string]os.FileMode{"open": 0o777, "sticky": 0o777 | os.ModeSticky} {
				path := filepath.Join(dir, name)
				if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(filepath.Join(dir, "foreign"), filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			places = append(places, place{"open/t", "every user may replace it"}, place{"sticky/t", ""}, place{"link", "is a symbolic link"})
		}
		for _, p := range places {
			r := newRig(t, t.TempDir())
			r.dir = dir
			f := r.file(filepath.FromSlash(p.name))
			err := r.Check(f.Path)
			if (err == nil) != (p.want == "") || (err != nil && !strings.Contains(err.Error(), p.want)) {
				t.Errorf("%s: %v", p.name, err)
			}
			r.start(f)
			if p.want == "" {
				r.holds(p.name, p.name, "token-crm-1\n")
				if err := r.Check(f.Path); err != nil {
					t.Errorf("our own: %v", err)
				}
			}
			r.says(p.name, p.want)
			r.end()
		}
		if got, err := os.ReadFile(filepath.Join(dir, "foreign")); err != nil || string(got) != "precious" {
			t.Errorf("the foreign file: %q, %v", got, err)
		}
		r := newRig(t, t.TempDir())
		if err := r.Check("token"); err == nil || !strings.Contains(err.Error(), "is not an absolute path") {
			t.Errorf("a relative path: %v", err)
		}
	})
}

// Where our file becomes something else while we run, that stays.
func TestAFileIsReplacedByAnother(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a right there that not every account has")
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		f := r.file("t")
		r.start(f)
		target := filepath.Join(r.dir, "target")
		if err := errors.Join(os.WriteFile(target, []byte("precious"), 0o600), os.Remove(f.Path), os.Symlink(target, f.Path)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery + time.Second)
		synctest.Wait()
		r.says("a link", "is a symbolic link")
		r.end()
		r.holds("the target", "target", "precious")
	})
}

// A list that cannot be read is told, and nothing is lost by it.
func TestADamagedList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		if err := os.WriteFile(r.list.path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.start(r.file("t"))
		r.holds("without a list", "t", "")
		r.says("without a list", "cannot be written")
		r.end()
		if !strings.Contains(r.log.String(), "the list of token files cannot be read") {
			t.Errorf("the log: %s", r.log)
		}
	})
}
