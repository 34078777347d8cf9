package config

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

// debounce is how long the files must be quiet before they are read again: an
// editor writes a file in several steps.
const debounce = 200 * time.Millisecond

// debounceMax bounds the wait where the directory is never quiet.
const debounceMax = 2 * time.Second

// The policy is read once a minute. Windows takes a policy away before it writes it
// again, so that a new one counts only when two readings, some seconds apart, agree.
const (
	policyEvery  = time.Minute
	policySettle = 3 * time.Second
)

// WatchConfig is what a Watcher needs.
type WatchConfig struct {
	Loaded *Loaded      // in force at the start
	Logger *slog.Logger // takes what was applied and what was refused

	// Apply puts new settings in force. It runs on the Watcher's goroutine, one
	// call at a time, never without a change. It takes over what need not wait for
	// a restart (Change.Restart). An error refuses the new settings.
	Apply func(before, after *Loaded, changes []Change) error

	// Refused, where set, hears why a new version was refused, once per
	// different reason, and nil when the settings are good again.
	Refused func(error)
}

// Watcher reads the settings again when their files, or the policy of the machine,
// change. A bad new version is refused and the old one stays in force.
type Watcher struct {
	cfg     WatchConfig
	current atomic.Pointer[Loaded]
	refused string // the last reason, so that it is told once

	policy        PolicyKey     // what two readings agreed on; Windows may be writing a new one
	seen          *PolicyKey    // a new policy that was read once
	every, settle time.Duration // policyEvery and policySettle; tests have no time
}

// NewWatcher makes a Watcher; Run starts it.
func NewWatcher(cfg WatchConfig) *Watcher {
	w := &Watcher{cfg: cfg, policy: cfg.Loaded.policy, every: policyEvery, settle: policySettle}
	w.current.Store(cfg.Loaded)
	return w
}

// Current is the settings in force. It is safe for concurrent use.
func (w *Watcher) Current() *Loaded { return w.current.Load() }

// Run watches until ctx ends and returns nil then. Where the system cannot
// watch files it says so in the log.
func (w *Watcher) Run(ctx context.Context) error {
	var events chan fsnotify.Event
	var errs chan error
	files, err := fsnotify.NewWatcher()
	if err != nil {
		w.cfg.Logger.WarnContext(ctx, "configuration files cannot be watched; changes need a restart", slog.Any("error", err))
	} else {
		defer func() { _ = files.Close() }()
		events, errs = files.Events, files.Errors
	}
	w.arm(ctx, files)
	var policy <-chan time.Time
	if w.Current().options.GOOS == "windows" {
		policy = time.After(w.every)
	}
	// What changed since the settings were loaded is looked for too.
	quiet, first := time.After(debounce), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-events:
			if !w.concerns(event.Name) {
				continue
			}
			if quiet == nil {
				first = time.Now()
			}
			quiet = time.After(min(debounce, max(0, debounceMax-time.Since(first))))
		case err := <-errs:
			// Events were lost (an overflow): look at the files themselves.
			w.cfg.Logger.WarnContext(ctx, "watching configuration files", slog.Any("error", err))
			quiet, first = time.After(debounce), time.Now()
		case <-policy:
			policy = time.After(w.policyStep(ctx))
		case <-quiet:
			quiet = nil
			w.arm(ctx, files)
			_ = w.take(ctx) // told by take itself
		}
	}
}

// arm watches the directories there are: files are often replaced, and a watch
// on a file would stay with the old one. The directory above is watched for the
// config directory to appear, and the one behind a symbolic link for its target.
// Adding a directory twice is harmless; one that does not exist is tried again
// after the next change.
func (w *Watcher) arm(ctx context.Context, files *fsnotify.Watcher) {
	if files == nil {
		return
	}
	p := w.Current().Places
	dir := filepath.Dir(p.ConfigFile)
	dirs := []string{filepath.Dir(dir), dir, p.ConfDir}
	if target, err := filepath.EvalSymlinks(p.ConfigFile); err == nil {
		dirs = append(dirs, filepath.Dir(target))
	}
	for _, d := range dirs {
		if err := files.Add(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.cfg.Logger.WarnContext(ctx, "a configuration directory cannot be watched; changes in it need a restart", slog.String("dir", d), slog.Any("error", err))
		}
	}
}

// concerns keeps the noise of the directory above out.
func (w *Watcher) concerns(path string) bool {
	dir := filepath.Dir(w.Current().Places.ConfigFile)
	above := filepath.Dir(dir)
	return path == dir || above == dir || filepath.Dir(path) != above
}

// policyStep looks whether the policy changed, and says when to look again. One that
// cannot be read now is the same as before; one that was refused is tried again.
func (w *Watcher) policyStep(ctx context.Context) time.Duration {
	now, err := w.Current().options.readPolicy()
	known, inForce := reflect.DeepEqual(now, w.policy), reflect.DeepEqual(now, w.Current().policy)
	switch {
	case err != nil || known && inForce:
		w.seen = nil
		return w.every
	case !known && (w.seen == nil || !reflect.DeepEqual(now, *w.seen)):
		w.seen = &now
		return w.settle
	}
	w.seen, w.policy = nil, now
	_ = w.take(ctx) // told by take itself
	return w.every
}

// take reads the settings and puts them in force.
func (w *Watcher) take(ctx context.Context) error {
	before := w.Current()
	after, changes, err := w.read(before)
	if err == nil && len(changes) > 0 {
		err = w.cfg.Apply(before, after, changes)
	}
	if err != nil {
		if err.Error() != w.refused {
			w.refused = err.Error()
			w.cfg.Logger.ErrorContext(ctx, "the new configuration is refused; the old one stays in force", slog.Any("error", err))
			w.tell(err)
		}
		return err
	}
	if w.refused != "" {
		w.refused = ""
		w.tell(nil)
	}
	w.current.Store(after)
	if len(changes) > 0 {
		w.report(ctx, changes)
	}
	for _, warning := range after.Warnings {
		if !slices.Contains(before.Warnings, warning) { // else it was told
			w.cfg.Logger.WarnContext(ctx, "a setting needs a look", slog.String("warning", warning))
		}
	}
	return nil
}

// read loads the files again, under the policy that is known. What served before
// must not stop to be complete.
func (w *Watcher) read(before *Loaded) (*Loaded, []Change, error) {
	o := before.options
	o.Policy = func() (PolicyKey, error) { return w.policy, nil }
	after, err := Load(o)
	if err != nil {
		return nil, nil, err
	}
	after.options = before.options
	if err := after.Ready(); err != nil && before.Ready() == nil {
		return nil, nil, err
	}
	return after, Diff(before, after), nil
}

func (w *Watcher) tell(err error) {
	if w.cfg.Refused != nil {
		w.cfg.Refused(err)
	}
}

func (w *Watcher) report(ctx context.Context, changes []Change) {
	var now, later []string
	for _, c := range changes {
		if c.Restart {
			later = append(later, c.Key)
		} else {
			now = append(now, c.Key)
		}
	}
	w.cfg.Logger.InfoContext(ctx, "the new configuration is in force", slog.Any("changed", now))
	if len(later) > 0 {
		w.cfg.Logger.WarnContext(ctx, "some changes take effect when the broker starts again", slog.Any("restart_needed_for", later))
	}
}
