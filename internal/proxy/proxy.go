// Package proxy sends a consumer's request on to a resource such as Exchange Web
// Services or Microsoft Graph, with a current access token in the place of the
// consumer's own credential.
//
// Both directions are streamed, in constant memory. Of a request's body at most
// 1 MiB is recorded while it goes by, so that it can be sent once more with
// another token where the resource answers with a claims challenge (exchange.go).
// What leads away from the resource's base_url, in the request or in the answer,
// is refused (target.go, answer.go).
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// Tokens gives tokens to consumers, by their policy.
type Tokens interface {
	Token(ctx context.Context, id *consumer.Identity, req token.Request) (cache.Answer, error)
}

// Config is what a Proxy needs. Tokens and Transport are required.
type Config struct {
	Tokens Tokens
	// Transport is the way to the resources. It must not decompress, follow
	// redirects or add a credential.
	Transport http.RoundTripper
	// Bases are the base URLs by resource, as Configure takes them.
	Bases map[string]string
	// Username is the user name of an account, for X-AnchorMailbox; "" where
	// nobody knows. nil: the header is not set.
	Username func(account string) string
	// Issued is told of each token that is sent to a resource; may be nil.
	Issued func(id *consumer.Identity, key token.Key, etag, requestID string)
	// Counted is told of each operation of Exchange Web Services that went to the
	// resource, "" where it is not known; may be nil.
	Counted func(consumer, operation string)
	// Done is told how a request ended; may be nil.
	Done func(ctx context.Context, r Result)
	// Idle is how long neither side may send anything; zero means 5 minutes.
	// Exchange sends a sign of life every minute (GetStreamingEvents). A sixteenth
	// of it must be less than the server's limits for a whole request.
	Idle time.Duration
}

// defaultIdle is Config.Idle's default.
const defaultIdle = 5 * time.Minute

// Result is how a proxied request ended.
type Result struct {
	Consumer string // its label
	Resource string // configured name; "" where the caller's was none, or not for it
	Status   int    // of the resource's answer; 0 where none was passed on
	Err      error  // why not, or why the answer was cut off
	// Took is the time until the answer began, or until it was clear that there
	// would be none.
	Took time.Duration
}

// Proxy sends requests on. It is safe for concurrent use.
type Proxy struct {
	cfg     Config
	bases   atomic.Pointer[map[string]base]
	buffers buffers
	watches watches
	silent  *log.Logger
}

// New makes a Proxy. Its error says which base URL is wrong.
func New(cfg Config) (*Proxy, error) {
	if cfg.Tokens == nil || cfg.Transport == nil {
		return nil, errors.New("proxy: Tokens and Transport are required")
	}
	if cfg.Idle == 0 {
		cfg.Idle = defaultIdle
	}
	p := &Proxy{cfg: cfg, watches: watches{idle: cfg.Idle, all: map[*watch]struct{}{}}, silent: log.New(io.Discard, "", 0)}
	return p, p.Configure(cfg.Bases)
}

// Configure takes the base URLs of a new configuration; one that is empty is of a
// resource that is no web service. After an error nothing has changed.
func (p *Proxy) Configure(bases map[string]string) error {
	next := make(map[string]base, len(bases))
	for name, raw := range bases {
		if raw == "" {
			continue
		}
		b, err := parseBase(name, raw)
		if err != nil {
			return fmt.Errorf("proxy: base_url of resource %q: %w", name, err)
		}
		next[name] = b
	}
	p.bases.Store(&next)
	return nil
}

// Forward answers r, whose URL has only what is behind the resource's base_url
// and whose RawPath is as the caller sent it. Of its header it takes out what
// could be a credential for the broker. The names of to are as the caller sent
// them. An error is one from before the answer began; an answer that breaks off
// later ends in the panic http.ErrAbortHandler, as net/http wants it.
func (p *Proxy) Forward(w http.ResponseWriter, r *http.Request, id *consumer.Identity, to token.Key) (err error) {
	x := &exchange{p: p, w: w, id: id, began: time.Now(), requestID: w.Header().Get(headerRequestID), host: r.Host}
	defer func() { x.done(r.Context()) }()
	if x.err = x.prepare(r, to); x.err != nil {
		return x.err
	}
	x.err = broken() // until it has gone well
	x.err = x.forward(r)
	return x.err
}

// broken is what a request ends with whose answer broke off.
func broken() error {
	return token.NewError(token.KindUnavailable, opProxy, "The answer broke off.")
}

// buffers are what answers are copied through. Implements httputil.BufferPool.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get gives a buffer.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

// Put takes a buffer back. What it held is overwritten by the next answer.
func (b *buffers) Put(buf []byte) {
	if len(buf) == bufferSize {
		b.pool.Put((*[bufferSize]byte)(buf))
	}
}
