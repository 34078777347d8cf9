package proxy

import (
	"net/http"
	"sync/atomic"
	"time"
)

// watch ends a request in which nothing has moved for a while. It takes the place
// of the server's limits for a whole request: a stream may last for hours, as long
// as it flows.
type watch struct {
	began time.Time
	idle  time.Duration
	last  atomic.Int64 // when something moved, since began
	rc    *http.ResponseController
	timer *time.Timer // ends a wait for the resource
}

// newWatch begins; ended is called after idle without a touch.
func newWatch(w http.ResponseWriter, idle time.Duration, ended func()) *watch {
	t := &watch{began: time.Now(), idle: idle, rc: http.NewResponseController(w), timer: time.AfterFunc(idle, ended)}
	t.extend()
	return t
}

// fullDuplex lets the answer begin while the request's body is still coming: else
// net/http takes the rest of the body away from the transport.
func (t *watch) fullDuplex() {
	_ = t.rc.EnableFullDuplex() // a connection that cannot, has no need for it
}

// grain is the part of idle within which touches cost nothing.
const grain = 16

// touch notes that something moved. It is safe for concurrent use.
func (t *watch) touch() {
	now, last := int64(time.Since(t.began)), t.last.Load()
	if now-last < int64(t.idle/grain) || !t.last.CompareAndSwap(last, now) {
		return
	}
	t.timer.Reset(t.idle)
	t.extend()
}

// extend gives the caller's side its time. A writer without deadlines is one in
// this process.
func (t *watch) extend() {
	deadline := time.Now().Add(t.idle)
	_ = t.rc.SetReadDeadline(deadline)
	_ = t.rc.SetWriteDeadline(deadline)
}

// lateBody is how long a caller may still send a body that nobody wants.
const lateBody = 5 * time.Second

func (t *watch) hurry() { _ = t.rc.SetReadDeadline(time.Now().Add(lateBody)) }

// flush sends what is left of the answer, so that the caller does not wait while
// the request is counted.
func (t *watch) flush() { _ = t.rc.Flush() } // a writer that cannot, sends it when the request is over

func (t *watch) stop() { t.timer.Stop() }
