package audit

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Run writes what is queued until ctx ends, and returns nil. What comes after that
// waits for Close.
func (l *Log) Run(ctx context.Context) error {
	copied := make(chan struct{})
	go func() { defer close(copied); l.copyAll(ctx) }()
	defer func() { <-copied }()
	minute := time.NewTicker(repeatEvery)
	defer minute.Stop()
	var settle <-chan time.Time // nil: all is on the disk
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-l.queue:
			l.write(ctx, l.batch([]stamped{r}))
		case <-minute.C:
			l.write(ctx, l.batch(l.repeats()))
		case <-settle:
			settle = nil
			l.settle(ctx)
		}
		if settle == nil && l.unsettled() {
			settle = time.After(syncEvery)
		}
	}
}

// Close writes what is queued and counted, and closes the file. It gives up with
// ctx: what is not written by then is an error. That a slow disk has not confirmed
// what is written is none: only a loss of power could still take it. Nothing may be
// told to the Log after it.
func (l *Log) Close(ctx context.Context) error {
	written, done := make(chan struct{}), make(chan error, 1)
	go func() {
		whole := true
		for all := l.repeats(); whole; all = nil {
			all = l.batch(all)
			if len(all) == 0 && (l.lost.Load() == 0 || !l.file.Load()) {
				break
			}
			whole = l.write(ctx, all)
		}
		for len(l.copies) > 0 && ctx.Err() == nil {
			l.copy(ctx, <-l.copies)
		}
		if whole && len(l.copies) == 0 {
			close(written)
		}
		l.settle(ctx)
		done <- l.shut()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case <-written:
		l.cfg.Log.WarnContext(ctx, "the audit log is written to its end, but its disk has not confirmed that yet; a loss of power now could take the last lines")
		return nil
	default:
		return errors.New("the audit log was not written to its end in time; its last lines may be missing")
	}
}

// batch adds to all what is queued, as much as is written at once.
func (l *Log) batch(all []stamped) []stamped {
	for len(all) < maxBatch {
		select {
		case r := <-l.queue:
			all = append(all, r)
		default:
			return all
		}
	}
	return all
}

// repeats are the lines for what was counted, in a fixed order.
func (l *Log) repeats() []stamped {
	var all []stamped
	now, file := time.Now(), l.file.Load()
	l.tokens.flush(func(i issue, n int64) {
		all = append(all, stamped{now, file, Record{Event: TokenRepeated, Consumer: i.consumer, Account: i.key.Account, Resource: i.key.Resource, Outcome: "ok", Count: n}})
	})
	l.refused.flush(func(r refusal, n int64) {
		all = append(all, stamped{now, file, Record{Event: RefusedRepeated, Consumer: r.consumer, Outcome: r.kind.Code(), Route: r.route, Count: n}})
	})
	slices.SortStableFunc(all, func(a, b stamped) int {
		return cmp.Or(strings.Compare(a.Consumer, b.Consumer), cmp.Compare(a.Event, b.Event), strings.Compare(a.Account+" "+a.Resource+a.Route, b.Account+" "+b.Resource+b.Route))
	})
	return all
}

// write makes lines of the records and appends them. Where that fails they are
// lost, and counted. It reports whether it worked.
func (l *Log) write(ctx context.Context, records []stamped) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []Line
	lost := int64(0)
	if l.file.Load() {
		if lost = l.lost.Swap(0); lost > 0 {
			lines = append(lines, Line{Time: Stamp{time.Now()}, Record: Record{Event: Lost, Count: lost}})
		}
	}
	told := len(lines)
	for _, r := range records {
		line := Line{Time: Stamp{r.on}, Record: l.ready(r.Record)}
		if r.file {
			lines = append(lines, line)
		} else {
			l.offer(line)
		}
	}
	if len(lines) == 0 {
		return true
	}
	written, err := l.w.append(lines)
	if err != nil { // that all is well again, settle says
		l.failed(ctx, err)
	}
	for _, line := range written {
		l.offer(line)
	}
	if err != nil {
		l.lost.Add(lost) // all of these were counted before
		l.lose(int64(len(lines) - told))
	}
	return err == nil
}

// ready is a record as it stands in a line.
func (l *Log) ready(r Record) Record {
	if r.Account != "" {
		r.Account = l.cfg.Hash(r.Account)
	}
	return plain(r)
}

func (l *Log) unsettled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.dirty
}

// settle brings what was written to the disk, and the head beside it, and closes
// a file that is not wanted any more.
func (l *Log) settle(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.w.dirty {
		return
	}
	err := l.w.sync()
	if !l.file.Load() && len(l.queue) == 0 {
		err = errors.Join(err, l.w.shut())
	}
	l.failed(ctx, err)
}

func (l *Log) shut() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.shut()
}

// offer hands a line to the event log, where that is wanted and it is no token's.
func (l *Log) offer(line Line) {
	if !l.copying.Load() || line.Event == TokenIssued || line.Event == TokenRepeated {
		return
	}
	select {
	case l.copies <- line:
	default:
		l.uncopy++
	}
}

// copyAll writes copies until ctx ends.
func (l *Log) copyAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case line := <-l.copies:
			l.copy(ctx, line)
		}
	}
}

// copy writes one line to the event log. That it cannot be written is told once,
// until it can.
func (l *Log) copy(ctx context.Context, line Line) {
	err := l.cfg.Copy(line)
	l.mu.Lock()
	missed, was := l.uncopy, l.copyBad
	l.uncopy, l.copyBad = 0, err != nil
	if err != nil {
		l.uncopy = missed + 1
	}
	l.mu.Unlock()
	switch {
	case err != nil && !was:
		l.cfg.Log.ErrorContext(ctx, "audit lines cannot be copied to the Windows event log; the audit file has them where it is on", slog.Any("error", err))
	case err == nil && missed > 0:
		l.cfg.Log.WarnContext(ctx, "audit lines are missing in the Windows event log; the audit file has them where it is on", slog.Int64("missing", missed))
	}
}
