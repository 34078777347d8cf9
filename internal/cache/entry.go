package cache

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Entry is one current token with everything that an answer needs made ready:
// the hot path copies bytes and splices in two numbers. An Entry is immutable,
// but for the time at which somebody last asked for it, and safe for concurrent
// use.
type Entry struct {
	key    token.Key
	tok    token.Token
	etag   string
	jitter float64 // see token.Renewal

	received time.Time     // with the monotonic clock
	expires  time.Time     // wall clock only, so that the machine's sleep counts
	lifetime time.Duration // as issued

	// The value of the header field Authorization.
	authorization token.Secret

	// The body of GET /v1/token up to the value of expires_in. It holds the
	// access token, hence the type.
	head token.Secret
	size int // see JSONSize

	asked *atomic.Int64 // Unix seconds; shared with the entry's successors
}

// scheme is what stands before the token in the header field Authorization.
const scheme = "Bearer "

// newEntry makes the answer of tok ready.
func newEntry(key token.Key, tok token.Token, asked *atomic.Int64) *Entry {
	lifetime := tok.Lifetime()
	// By the wall clock from here on: a machine's sleep counts.
	tok.ObtainedOn, tok.ExpiresOn, tok.RefreshOn = tok.ObtainedOn.Round(0), tok.ExpiresOn.Round(0), tok.RefreshOn.Round(0)
	etag := etagOf(tok.Access)
	authorization := scheme + tok.Access.Reveal()
	access := authorization[len(scheme):]
	tok.Access = token.NewSecret(access) // the same bytes: the header costs no memory of its own
	e := &Entry{
		key: key, tok: tok, asked: asked, etag: etag, jitter: jitterOf(etag), authorization: token.NewSecret(authorization),
		received: time.Now(), expires: tok.ExpiresOn, lifetime: lifetime,
	}
	b := make([]byte, 0, len(access)+len(tok.Scope)+256)
	b = appendField(b, `{"access_token":`, access)
	b = append(b, `,"token_type":"Bearer","expires_on":`...)
	b = strconv.AppendInt(b, tok.ExpiresOn.Unix(), 10)
	b = appendField(b, `,"resource":`, key.Resource)
	b = appendField(b, `,"scope":`, tok.Scope)
	b = appendField(b, `,"account":`, key.Account)
	b = append(b, `,"expires_in":`...)
	e.head, e.size = token.NewSecret(string(b)), len(b)+maxTail
	return e
}

// maxTail is room enough for what AppendJSON appends to head.
const maxTail = 48

// appendField appends a literal and a JSON string.
func appendField(b []byte, literal, value string) []byte {
	b = append(b, literal...)
	quoted, _ := json.Marshal(value) // a string always marshals
	return append(b, quoted...)
}

// etagOf is a weak entity tag (RFC 9110 section 8.8.3) that changes with the
// token and says nothing about it.
func etagOf(s token.Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return `W/"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// Key is what the token is for.
func (e *Entry) Key() token.Key { return e.key }

// Token is the token itself.
func (e *Entry) Token() token.Token { return e.tok }

// Authorization is the value of the header field of that name with which the token
// is used (RFC 6750 section 2.1).
func (e *Entry) Authorization() token.Secret { return e.authorization }

// ETag is the weak entity tag of the token, quotes included.
func (e *Entry) ETag() string { return e.etag }

// AppendJSON appends the body of GET /v1/token to dst and returns it. It does
// not allocate where dst has room (JSONSize).
func (e *Entry) AppendJSON(dst []byte, now time.Time, fromCache bool) []byte {
	dst = append(dst, e.head.Reveal()...)
	dst = strconv.AppendInt(dst, max(0, int64(e.left(now)/time.Second)), 10)
	if fromCache {
		return append(dst, `,"source":"cache"}`...)
	}
	return append(dst, `,"source":"refresh"}`...)
}

// JSONSize is room enough for AppendJSON, in bytes.
func (e *Entry) JSONSize() int { return e.size }

// askedGrain keeps the hot path from writing to shared memory on each call.
const askedGrain = 60

// markAsked notes that a consumer asked, to the minute.
func (e *Entry) markAsked(now time.Time) {
	if s := now.Unix(); s-e.asked.Load() >= askedGrain {
		e.asked.Store(s)
	}
}

// Answer is an entry and where it came from.
type Answer struct {
	Entry     *Entry
	FromCache bool // false: an upstream redemption was waited for

	// Warning is why the token was not renewed although it was time; the token
	// that is served is still valid. Nil otherwise.
	Warning *token.Error
}
