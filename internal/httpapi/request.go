package httpapi

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"

	"github.com/m365-token-broker/broker/internal/token"
)

const headerRequestID = "X-Request-Id"

// newRequestID makes the name that an answer and its log line share. It need not
// be hard to guess.
func newRequestID() string {
	const digits = "0123456789abcdef"
	var b [16]byte
	n := rand.Uint64() //nolint:gosec // a label in a log, no secret
	for i := range b {
		b[i] = digits[n&0xf]
		n >>= 4
	}
	return string(b[:])
}

// recoverPanic turns a panic into the answer that every defect gets. It logs
// where it happened and of which type it was, and no value: those can be secret.
func (s *Server) recoverPanic(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it like this
		panic(p) //nolint:forbidigo // net/http's own way to end a connection
	}
	s.cfg.Log.LogAttrs(r.Context(), slog.LevelError, "a request ended in a panic",
		slog.String("request_id", w.Header().Get(headerRequestID)), slog.String("panic", describe(p)), slog.Any("stack", frames()))
	if w.Header().Get("Content-Type") != "" {
		panic(http.ErrAbortHandler) //nolint:forbidigo // the answer has begun: it must not look complete
	}
	s.refuse(w, r, token.NewError(token.KindInternal, "serve", ""))
}

// describe is the message of the runtime's own errors, which hold no data, and
// the type of anything else.
func describe(p any) string {
	if e, ok := p.(runtime.Error); ok {
		return e.Error()
	}
	if _, ok := p.(string); ok {
		return "string"
	}
	if _, ok := p.(error); ok {
		return "error"
	}
	return "other"
}

// frames lists function and line of every frame, without arguments.
func frames() []string {
	pcs := make([]uintptr, 64)
	all := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var out []string
	for {
		f, more := all.Next()
		out = append(out, f.Function+":"+strconv.Itoa(f.Line))
		if !more {
			return out
		}
	}
}

// log writes the one line of a request that went wrong: never a value of the
// request, never a key.
func (s *Server) log(ctx context.Context, requestID string, status int, e *token.Error) {
	level := levelOf(e.Kind)
	if level >= slog.LevelWarn && !s.loud.Allow() {
		level = slog.LevelDebug
	}
	if !s.cfg.Log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("request_id", requestID), slog.Int("http_status", status), slog.Any("problem", e)}
	if id := identityOf(ctx); id != nil {
		attrs = append(attrs, slog.String("consumer", id.Name))
	}
	s.cfg.Log.LogAttrs(ctx, level, "request refused", attrs...)
}

// levelOf is how much an operator should care.
func levelOf(k token.Kind) slog.Level {
	switch k {
	case token.KindInternal, token.KindConfiguration, token.KindStore:
		return slog.LevelError
	case token.KindUnauthenticated, token.KindDenied, token.KindWrongProcess, token.KindPolicyBlocked, token.KindUnavailable, token.KindInvalid, token.KindTimeout, token.KindThrottled:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}
