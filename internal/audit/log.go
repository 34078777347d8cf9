package audit

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Config is what a Log needs.
type Config struct {
	Dir string // of the log, inside the state directory; made when it is first needed
	// Hash turns an account's name into what stands in a line. It must be safe for
	// concurrent use.
	Hash func(account string) string
	Log  *slog.Logger // hears of faults of the audit log itself
	// Lost is told of lines that cannot be written; nil: nobody. It must not wait.
	Lost func(lines int64)
	// Copy writes a line to the Windows event log; nil: this system has none. It may
	// wait, and is called on a goroutine of its own.
	Copy func(Line) error
}

// Settings say where lines go.
type Settings struct {
	File     bool // the chained log
	EventLog bool // a copy of all but the tokens in the Windows event log
}

// Limits of what waits or is counted.
const (
	maxQueue   = 4096 // records that wait for the writer: about 4 MiB
	maxBatch   = 256  // records that are written at once
	maxTokens  = 8192 // consumer, account, resource and token that are counted at once
	maxRefused = 4096 // consumer, kind and route that are counted at once
)

// The pace. A token is known for two hours, which is longer than one lives; a
// refusal is a line again after a minute without one.
const (
	repeatEvery = time.Minute
	syncEvery   = time.Second
	tokenIdle   = 120
	refusedIdle = 1
)

// issue is a token that a consumer got. Its tag is the token's entity tag, which
// says nothing about it.
type issue struct {
	consumer string
	key      token.Key
	tag      string
}

// refusal is what a refused request is counted by.
type refusal struct {
	consumer string // empty: nobody knows who asked
	kind     token.Kind
	route    string
}

// stamped is a record on its way to the file, or, where that was off, to the event
// log alone.
type stamped struct {
	on   time.Time
	file bool
	Record
}

// Log takes what happens and writes it down. Its methods for that return at once,
// whatever the disk does: what does not fit into the queue, or cannot be written,
// is counted and told by an audit.lost line. They are safe for concurrent use.
// Run must run while they are called, and Close come last.
type Log struct {
	cfg     Config
	file    atomic.Bool
	copying atomic.Bool
	tokens  *tally[issue]
	refused *tally[refusal]
	queue   chan stamped
	copies  chan Line
	lost    atomic.Int64 // lines since the last audit.lost line
	allLost atomic.Int64 // since the start
	fault   atomic.Pointer[Fault]

	mu      sync.Mutex // guards what follows: Run and Close write
	w       *writer
	uncopy  int64 // copies that could not be made since it was said
	copyBad bool
}

// Fault is why the log is not written at the moment.
type Fault struct {
	Err  error
	Lost int64 // lines since the start of the broker
}

// New makes a Log that writes nothing until Configure says so, and touches no
// file before its first line.
func New(cfg Config) *Log {
	return &Log{
		cfg:    cfg,
		tokens: newTally[issue](maxTokens, tokenIdle), refused: newTally[refusal](maxRefused, refusedIdle),
		queue: make(chan stamped, maxQueue), copies: make(chan Line, maxQueue/16),
		w: newWriter(cfg.Dir, cfg.Log),
	}
}

// Configure puts settings in force.
func (l *Log) Configure(s Settings) {
	l.file.Store(s.File)
	l.copying.Store(s.EventLog && l.cfg.Copy != nil)
}

func (l *Log) on() bool { return l.file.Load() || l.copying.Load() }

// Issued is a token that leaves for a consumer. A token that the consumer got
// before is counted, without an allocation.
func (l *Log) Issued(consumer string, key token.Key, tag, requestID string) {
	if !l.file.Load() {
		return
	}
	switch l.tokens.hit(issue{consumer, key, tag}) {
	case again:
	case first:
		l.Record(Record{Event: TokenIssued, Consumer: consumer, Account: key.Account, Resource: key.Resource, Outcome: "ok", RequestID: requestID})
	case full:
		l.lose(1)
	}
}

// Refused is a request that got nothing. consumer is empty where nobody knows who
// asked; route is a pattern, never a path.
func (l *Log) Refused(consumer string, kind token.Kind, route, requestID string) {
	if !l.on() {
		return
	}
	switch l.refused.hit(refusal{consumer, kind, route}) {
	case again:
	case first:
		l.Record(Record{Event: RequestRefused, Consumer: consumer, Outcome: kind.Code(), Route: route, RequestID: requestID})
	case full:
		l.lose(1)
	}
}

// Record queues one line.
func (l *Log) Record(r Record) {
	if !l.on() {
		return
	}
	select {
	case l.queue <- stamped{time.Now(), l.file.Load(), r}:
	default:
		l.lose(1)
	}
}

func (l *Log) lose(n int64) {
	l.lost.Add(n)
	l.allLost.Add(n)
	if l.cfg.Lost != nil {
		l.cfg.Lost(n)
	}
}

// Lost is how many lines are missing from the log since the start.
func (l *Log) Lost() int64 { return l.allLost.Load() }

// Fault is why the log is not written at the moment; nil: it is.
func (l *Log) Fault() *Fault {
	f := l.fault.Load()
	if f == nil {
		return nil
	}
	return &Fault{Err: f.Err, Lost: l.allLost.Load()}
}

// Head is the newest line that is on the disk: its number and its hash. Zero and
// empty where this Log has written nothing.
func (l *Log) Head() (seq uint64, hash string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.head.Seq, l.w.head.Hash
}

// failed remembers a fault and tells it once; nil is that all is well again.
func (l *Log) failed(ctx context.Context, err error) {
	before := l.fault.Load()
	switch {
	case err == nil && before != nil:
		l.fault.Store(nil)
		l.cfg.Log.InfoContext(ctx, "the audit log is written again", slog.Int64("lost", l.allLost.Load()))
	case err != nil:
		l.fault.Store(&Fault{Err: err})
		if before == nil {
			l.cfg.Log.ErrorContext(ctx, "the audit log cannot be written; the broker goes on, and counts the lines that are lost", slog.Any("error", err))
		}
	}
}
