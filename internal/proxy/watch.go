package proxy

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// watch ends a request in which nothing has moved for a while. It takes the place
// of the server's limits for a whole request: a stream may last for hours, as long
// as it flows. Those limits hold until it first looks, so that a small call, which
// is over by then, pays for one timer.
type watch struct {
	began time.Time
	idle  time.Duration
	last  atomic.Int64 // when something moved, since began
	ended func()
	rc    *http.ResponseController

	mu    sync.Mutex // held while it looks; guards what follows
	timer *time.Timer
	over  bool // the connection is no longer ours
}

// newWatch begins; ended is called after idle without a touch.
func newWatch(w http.ResponseWriter, idle time.Duration, ended func()) *watch {
	t := &watch{began: time.Now(), idle: idle, ended: ended, rc: http.NewResponseController(w)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(idle/looks, t.look)
	return t
}

// looks is how often it looks within idle, at least; the first look is well within
// the server's limits.
const looks = 16

// fullDuplex lets the answer begin while the request's body is still coming: else
// net/http takes the rest of the body away from the transport.
func (t *watch) fullDuplex() {
	_ = t.rc.EnableFullDuplex() // a connection that cannot, has no need for it
}

// touch notes that something moved. It is safe for concurrent use.
func (t *watch) touch() { t.last.Store(int64(time.Since(t.began))) }

// lateAnswer is how long a caller may take to be told that the request has ended;
// lateBody, how long it may still send a body that nobody wants.
const (
	lateAnswer = 5 * time.Second
	lateBody   = 5 * time.Second
)

// look lifts the server's limits, or ends the request with its reads and writes.
// A writer without deadlines is one in this process.
func (t *watch) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	now := time.Now()
	left := t.idle - (now.Sub(t.began) - time.Duration(t.last.Load()))
	if left <= 0 {
		t.ended()
		_ = t.rc.SetReadDeadline(now)
		_ = t.rc.SetWriteDeadline(now.Add(lateAnswer))
		return
	}
	_ = t.rc.SetReadDeadline(time.Time{})
	_ = t.rc.SetWriteDeadline(time.Time{})
	t.timer.Reset(min(left, t.idle/looks))
}

// hurry stops it, and gives the caller a moment for the rest of a body.
func (t *watch) hurry() {
	t.stop()
	_ = t.rc.SetReadDeadline(time.Now().Add(lateBody))
}

// flush sends what is left of the answer, so that the caller does not wait while
// the request is counted.
func (t *watch) flush() { _ = t.rc.Flush() } // a writer that cannot, sends it when the request is over

// stop ends it: it leaves the connection alone from then on.
func (t *watch) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.timer.Stop()
}
