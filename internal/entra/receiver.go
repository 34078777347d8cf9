package entra

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// receiver is the loopback address that the browser comes back to. It stands in
// front of MSAL's own, because that one ends the sign-in at any stray GET and
// drops the error code; what it takes, it passes on to MSAL's. MSAL's port stays
// open beside it, on a random number that nobody is told: a program of this
// machine that finds it can end the sign-in (see outcome.failure), not join it.
type receiver struct {
	redirect string // http://localhost:port, as registered
	host     string // of the authority, for texts
	stop     context.CancelFunc
	server   *http.Server
	done     sync.WaitGroup

	mu     sync.Mutex // guards what follows
	state  string
	next   string // MSAL's own redirect address
	used   bool
	denied *token.Error
}

// Limits of the receiver: a browser is near and quick.
const (
	receiveTimeout = 10 * time.Second
	maxRedirect    = 64 << 10
)

// listenRedirect opens a free loopback port, for IPv4 and, where there is one,
// IPv6, since a browser may take localhost for either. stop ends the sign-in.
func listenRedirect(ctx context.Context, host string, stop context.CancelFunc) (*receiver, error) {
	var config net.ListenConfig
	v4, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, &token.Error{Kind: token.KindInternal, Op: stepBrowser.op(), Detail: "No loopback port could be opened for the browser to come back to; use broker login --flow device.", Err: err}
	}
	_, port, _ := net.SplitHostPort(v4.Addr().String())
	r := &receiver{redirect: "http://localhost:" + port, host: host, stop: stop}
	r.server = &http.Server{
		Handler: http.HandlerFunc(r.serve), ReadHeaderTimeout: receiveTimeout, ReadTimeout: receiveTimeout,
		WriteTimeout: receiveTimeout, MaxHeaderBytes: maxRedirect,
	}
	listeners := []net.Listener{v4}
	if v6, err := config.Listen(ctx, "tcp6", "[::1]:"+port); err == nil {
		listeners = append(listeners, v6)
	}
	for _, l := range listeners {
		r.done.Go(func() { _ = r.server.Serve(l) })
	}
	return r, nil
}

// close lets the page in flight finish, then closes the port.
func (r *receiver) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		_ = r.server.Close()
	}
	r.done.Wait()
}

// expect says which state belongs to this sign-in and where MSAL waits for it.
func (r *receiver) expect(state, next string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.next = state, next
}

// refusal is why the authority sent the browser back without a code.
func (r *receiver) refusal() *token.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.denied
}

// serve answers the browser. Whatever does not carry this sign-in's state is
// turned away and changes nothing, so that no other page or program can end the
// sign-in through the address that it knows.
func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	if !r.isOurs(req.Host) || req.URL.Path != "/" {
		http.NotFound(w, req)
		return
	}
	form, err := redirectForm(w, req)
	if err != nil {
		page(w, http.StatusBadRequest, "This is not an answer to a sign-in.")
		return
	}
	switch err := r.take(req.Context(), form); {
	case errors.Is(err, errStray):
		page(w, http.StatusBadRequest, "This answer belongs to no sign-in that is running. Start the sign-in again.")
	case err != nil:
		page(w, http.StatusOK, "The sign-in was not finished. "+token.AsError(err).Detail)
	default:
		page(w, http.StatusOK, "You can close this window and go back to the program that asked you to sign in.")
	}
}

// isOurs holds the Host header to the loopback names of our port (DNS
// rebinding).
func (r *receiver) isOurs(host string) bool {
	port := strings.TrimPrefix(r.redirect, "http://localhost")
	return host == "localhost"+port || host == "127.0.0.1"+port || host == "[::1]"+port
}

// redirectForm reads the parameters of the redirect: posted (form_post, what
// MSAL asks for), or in the query, from providers that know only that.
func redirectForm(w http.ResponseWriter, req *http.Request) (url.Values, error) {
	switch req.Method {
	case http.MethodGet:
		return req.URL.Query(), nil
	case http.MethodPost:
		req.Body = http.MaxBytesReader(w, req.Body, maxRedirect)
		if err := req.ParseForm(); err != nil {
			return nil, errStray
		}
		return req.PostForm, nil
	}
	return nil, errStray
}

// errStray is a request that does not belong to this sign-in.
var errStray = errors.New("entra: stray redirect")

// take handles the redirect of this sign-in: the first one counts.
func (r *receiver) take(ctx context.Context, form url.Values) error {
	r.mu.Lock()
	match := r.state != "" && subtle.ConstantTimeCompare([]byte(form.Get("state")), []byte(r.state)) == 1
	first := match && !r.used && (form.Get("code") != "" || form.Get("error") != "")
	r.used = r.used || first
	next := r.next
	r.mu.Unlock()
	if !first {
		return errStray
	}
	if form.Get("code") == "" {
		return r.deny(record{understood: true, oauth: oauthError{
			code: word(form.Get("error")), subError: word(form.Get("error_subcode")), aadsts: numbers(nil, form.Get("error_description")),
		}}.problem(stepBrowser, r.host))
	}
	if err := forward(ctx, next, url.Values{"code": {form.Get("code")}, "state": {form.Get("state")}}); err != nil {
		return r.deny(token.NewError(token.KindInternal, stepBrowser.op(), "The answer of the browser was lost on this machine; start the sign-in again."))
	}
	return nil
}

// deny ends the sign-in with e.
func (r *receiver) deny(e *token.Error) error {
	r.mu.Lock()
	r.denied = e
	r.mu.Unlock()
	r.stop()
	return e
}

// forward posts the code to MSAL's own loopback address.
func forward(ctx context.Context, to string, form url.Values) error {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "http" || u.Hostname() != "localhost" {
		return errStray
	}
	ctx, cancel := context.WithTimeout(ctx, receiveTimeout/2)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return errStray
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return errStray
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return errStray
	}
	return nil
}

// page writes a small page with one sentence.
func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>M365 Token Broker</title></head><body><p>%s</p></body></html>\n", html.EscapeString(text))
}
