package proxy

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// watches look at all requests that are under way. One timer serves them all: one
// for each would cost a small call more than all else of watching it.
type watches struct {
	idle time.Duration

	mu    sync.Mutex // guards what follows; never held while it looks
	all   map[*watch]struct{}
	timer *time.Timer // nil: there is nothing to look at
}

// looks is how often a request is looked at within idle, at least; the first look
// is well within the server's limits.
const looks = 16

// begin watches a request; ended is called after idle without a touch.
func (ws *watches) begin(w http.ResponseWriter, ended func()) *watch {
	t := &watch{of: ws, began: time.Now(), ended: ended, rc: http.NewResponseController(w)}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.all[t] = struct{}{}
	if ws.timer == nil {
		ws.timer = time.AfterFunc(ws.idle/looks, ws.look)
	}
	return t
}

// look looks at each request, and comes again when the next one's time may be over.
func (ws *watches) look() {
	ws.mu.Lock()
	underWay := slices.Collect(maps.Keys(ws.all))
	ws.mu.Unlock()
	next := ws.idle / looks
	for _, t := range underWay {
		if left := t.look(ws.idle); left > 0 {
			next = min(next, left)
		}
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.timer = nil
	if len(ws.all) > 0 {
		ws.timer = time.AfterFunc(next, ws.look)
	}
}

func (ws *watches) forget(t *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, t)
}

// watch ends a request in which nothing has moved for a while. It takes the place
// of the server's limits for a whole request: a stream may last for hours, as long
// as it flows. Those limits hold until it first looks.
type watch struct {
	of    *watches
	began time.Time
	last  atomic.Int64 // when something moved, since began
	ended func()
	rc    *http.ResponseController

	mu   sync.Mutex // held while it looks; guards over
	over bool       // the connection is no longer ours, or was ended
}

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

// look lifts the server's limits, or ends the request with its reads and writes,
// and gives the time that is left until then. A writer without deadlines is one in
// this process.
func (t *watch) look(idle time.Duration) (left time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return 0
	}
	now := time.Now()
	left = idle - (now.Sub(t.began) - time.Duration(t.last.Load()))
	if left <= 0 {
		t.over = true
		t.ended()
		_ = t.rc.SetReadDeadline(now)
		_ = t.rc.SetWriteDeadline(now.Add(lateAnswer))
		return 0
	}
	_ = t.rc.SetReadDeadline(time.Time{})
	_ = t.rc.SetWriteDeadline(time.Time{})
	return left
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
	t.of.forget(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}
