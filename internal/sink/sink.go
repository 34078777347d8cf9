// Package sink keeps the current token of a consumer in a file, for programs
// that can only read one.
//
// The file is its owner's alone, holds a whole token at any moment, and is
// renewed ahead of the token's end. It is there only while there is something to
// read in it: it goes when the broker stops, when the consumer may not have the
// token any more, and when the token has ended. A list in the state directory
// says which files are ours, so that one that a crash left behind is found, and
// one that is somebody else's is never written over.
package sink

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/token"
)

// File is one token file.
type File struct {
	Consumer string // whose policy holds
	Path     string // absolute
	Format   config.SinkFormat
}

// Current is a token as it goes into a file.
type Current struct {
	Access    token.Secret
	JSON      token.Secret // what GET /v1/token answers
	ETag      string       // another one for another token
	ExpiresOn time.Time
	Key       token.Key
}

// Tokens gives the tokens of consumers, each held to its policy. Errors are of
// type *token.Error.
type Tokens interface {
	// Allowed says whether the consumer may have its token at this moment, without
	// looking for one.
	Allowed(ctx context.Context, consumer string) error
	// Token gives the current token, if possible with this much time to its end.
	Token(ctx context.Context, consumer string, minValidity time.Duration) (Current, error)
	// Changed waits until there is another token than this one, or none; it ends
	// with ctx.
	Changed(ctx context.Context, c Current) error
	// Written is told of a token that a consumer can read from now on.
	Written(consumer string, c Current)
}

// Config is what a Keeper needs.
type Config struct {
	Tokens Tokens
	// List is the file that names ours, in the state directory.
	List string
	Log  *slog.Logger
}

// Keeper keeps token files. It is safe for concurrent use.
type Keeper struct {
	cfg  Config
	list *ownList
	wake chan struct{} // holds one value: the files have changed

	mu       sync.Mutex // guards what follows
	files    []File
	pokes    map[File]chan struct{} // of those that run: look again now
	problems map[File]string        // the end of a sentence that begins with the file
}

// New makes a Keeper without files.
func New(cfg Config) *Keeper {
	return &Keeper{
		cfg: cfg, list: &ownList{path: cfg.List}, wake: make(chan struct{}, 1),
		pokes: map[File]chan struct{}{}, problems: map[File]string{},
	}
}

// Configure says which files there are from now on. Those that are there already
// are looked at again, as the policy of their consumer may be another one.
func (k *Keeper) Configure(files []File) {
	k.mu.Lock()
	k.files = append([]File(nil), files...)
	k.mu.Unlock()
	tell(k.wake)
	k.Poke()
}

// Poke lets every file be looked at now: somebody has signed in.
func (k *Keeper) Poke() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, poke := range k.pokes {
		tell(poke)
	}
}

// tell leaves one value in a channel that has room for one.
func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Check says what is wrong with a path for a token file; the error is a sentence
// without its full stop. A file that is there must be empty, or be ours: nothing
// else is written over.
func (k *Keeper) Check(path string) error { return check(path, k.list.has(path)) }

// Problem is why a file is not what it should be.
type Problem struct {
	Consumer, Path string
	Detail         string // a sentence that names both; it may name an account too
}

// Problems lists what is wrong now, in the order of the files.
func (k *Keeper) Problems() []Problem {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []Problem
	for _, f := range k.files {
		if detail := k.problems[f]; detail != "" {
			all = append(all, Problem{
				Consumer: f.Consumer, Path: f.Path,
				Detail: "The token file " + f.Path + " of consumer " + f.Consumer + " " + strings.TrimSuffix(detail, ".") + ".",
			})
		}
	}
	return all
}

// trouble notes what is wrong with a file, empty for nothing, and reports whether
// that is news.
func (k *Keeper) trouble(f File, detail string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.problems[f] == detail {
		return false
	}
	k.problems[f] = detail
	if detail == "" {
		delete(k.problems, f)
	}
	return true
}

// running is a file that somebody keeps.
type running struct {
	stop context.CancelFunc
	done chan struct{} // closed once it is removed
}

// Run keeps the files until ctx ends, and removes them then. Files of ours that
// belong to no consumer any more are removed at the start.
func (k *Keeper) Run(ctx context.Context) error {
	now := map[File]running{}
	defer func() {
		for _, r := range now {
			r.stop()
		}
		for _, r := range now {
			<-r.done
		}
	}()
	for first := true; ; first = false {
		wanted := k.wanted()
		for f, r := range now { // first, as another file may have the same path
			if !wanted[f] {
				r.stop()
				<-r.done
				delete(now, f)
			}
		}
		if first {
			k.clear(ctx, wanted)
		}
		for f := range wanted {
			if _, ok := now[f]; !ok {
				now[f] = k.start(ctx, f)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		}
	}
}

// wanted are the files that there should be, one for each path.
func (k *Keeper) wanted() map[File]bool {
	k.mu.Lock()
	files := k.files
	k.mu.Unlock()
	wanted, owner := map[File]bool{}, map[string]string{}
	for _, f := range files {
		if other := owner[samePath(f.Path)]; other != "" {
			k.report(f, "belongs to consumer "+other+" too; give each its own", nil)
			continue
		}
		owner[samePath(f.Path)] = f.Consumer
		wanted[f] = true
	}
	return wanted
}

// start keeps one file until its stop is called.
func (k *Keeper) start(ctx context.Context, f File) running {
	ctx, stop := context.WithCancel(ctx)
	poke := make(chan struct{}, 1)
	k.mu.Lock()
	k.pokes[f] = poke
	k.mu.Unlock()
	r := running{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		_ = lifecycle.Guard(ctx, k.cfg.Log, "token file", func() error { // the log has what went wrong
			(&keeping{Keeper: k, file: f, poke: poke}).run(ctx)
			return nil
		})
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.pokes, f)
		delete(k.problems, f)
	}()
	return r
}

// clear removes what another life of this broker left behind: files that nobody
// wants any more, and those that it was just writing.
func (k *Keeper) clear(ctx context.Context, wanted map[File]bool) {
	paths := map[string]bool{}
	for f := range wanted {
		paths[f.Path] = true
	}
	owned, err := k.list.all()
	if err != nil {
		k.cfg.Log.ErrorContext(ctx, "the list of token files cannot be read; files that an earlier broker left stay where they are", slog.Any("error", err))
		return
	}
	for _, path := range owned {
		removeLeftovers(path)
		if paths[path] {
			continue // it is replaced, or removed, by who keeps it now
		}
		if err := k.list.remove(path); err != nil {
			k.cfg.Log.ErrorContext(ctx, "a token file that nobody uses any more cannot be removed; delete it", slog.Any("error", err))
		}
	}
}

// report tells what is wrong with a file, once: in the log, where no account may
// be named, and in Problems. The words follow on the file's name; err says more to
// the log. No words mean that all is well.
func (k *Keeper) report(f File, words string, err error) {
	if !k.trouble(f, words) {
		return
	}
	about := []any{slog.String("consumer", f.Consumer), slog.String("path", f.Path)}
	switch {
	case words == "":
		k.cfg.Log.Info("a token file is as it should be again", about...)
		return
	case err != nil:
		about = append(about, slog.Any("problem", err))
	default:
		about = append(about, slog.String("problem", words))
	}
	k.cfg.Log.Warn("a token file is not as it should be", about...)
}
