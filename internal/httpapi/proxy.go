package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// Proxy sends a consumer's request on to a resource, with a token put in.
type Proxy interface {
	// Forward answers r, whose URL has only what is behind the resource's base_url,
	// its RawPath as it was sent. The consumer's credential, which r still carries,
	// stays here. The names of to are as the caller sent them. An error is one from
	// before the answer began.
	Forward(w http.ResponseWriter, r *http.Request, id *consumer.Identity, to token.Key) error
}

// proxyPattern is what telemetry and the document call all of its paths.
const proxyPattern = proxyPrefix + "{resource}/{path}"

// proxied are the proxy's operations in the table of routes, which serveProxy does
// not ask: it takes every method.
func proxied() map[string]route {
	all := map[string]route{}
	for _, m := range []string{
		http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	} {
		all[m] = route{right: anyConsumer}
	}
	return all
}

// serveProxy is ANY /proxy/{resource}/…: it stands before echo, whose router would
// decode the path, and hands the request on as it came.
func (s *Server) serveProxy(w http.ResponseWriter, r *http.Request) {
	s.setRoute(r.Context(), routeMethod(r.Method)+" "+proxyPattern)
	id, account, err := s.enterProxy(r)
	if err == nil {
		err = s.forward(w, r, id, account)
	}
	if err != nil {
		if id != nil {
			r = r.WithContext(withIdentity(r.Context(), id))
		}
		s.failProxy(w, r, err)
	}
}

// routeMethod is a method as part of a route's name; what is not one of HTTP's is
// the caller's own text.
func routeMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodTrace:
		return method
	}
	return "HTTP"
}

// enterProxy finds who is calling and the account that they name, if any.
func (s *Server) enterProxy(r *http.Request) (id *consumer.Identity, account string, err error) {
	key, user, err := proxyCredential(r.Header)
	if err != nil {
		return nil, "", err
	}
	if id, err = s.authenticateKey(r, key); err != nil {
		return id, "", err
	}
	if err = mayUse(id, anyConsumer); err != nil {
		return id, "", err
	}
	if account, err = namedAccount(id, user, r.Header["X-Broker-Account"]); err == nil && account != "" {
		_, err = text("account", account, maxAccount)
	}
	return id, account, err
}

// proxyCredential is the key that a request presents, and the user name where it
// presents the key as the password of Basic (RFC 7617). X-Broker-Key wins: many a
// client of Graph cannot be kept from sending a token, which is of no use here and
// goes no further.
func proxyCredential(h http.Header) (key, user string, err error) {
	auth, own := h["Authorization"], h["X-Broker-Key"]
	if len(own) > 0 {
		key, err = credential(http.Header{"X-Broker-Key": own})
		return key, "", err
	}
	if len(auth) == 1 {
		r := http.Request{Header: http.Header{"Authorization": auth}}
		if user, key, ok := r.BasicAuth(); ok {
			return strings.TrimSpace(key), user, nil
		}
	}
	key, err = credential(h)
	return key, "", err
}

// namedAccount is the account that the caller names, by X-Broker-Account or as the
// user of Basic; "" where it names none. The user may also be the consumer itself.
func namedAccount(id *consumer.Identity, user string, header []string) (string, error) {
	if len(header) > 1 {
		return "", badRequest("X-Broker-Account was sent twice; send one account, once.")
	}
	named := ""
	switch {
	case user == "", user == id.Name, user == id.Label:
	case strings.Contains(user, "@"), id.Admin, slices.Contains(id.Accounts(), user):
		named = user
	default:
		return "", token.NewError(token.KindUnauthenticated, "authenticate", "The user name goes with another key, or with none; the user name is the consumer's name or the account's, and the password is the consumer's key.")
	}
	if len(header) == 0 || header[0] == "" {
		return named, nil
	}
	if named != "" && !strings.EqualFold(named, header[0]) {
		return "", badRequest("X-Broker-Account and the user name are two accounts; send one of them.")
	}
	return header[0], nil
}

// forward hands the request to the proxy, with a URL of what is behind the
// resource's name.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, id *consumer.Identity, account string) error {
	if s.cfg.Proxy == nil {
		return token.NewError(token.KindNotFound, "route", "This broker has no proxy.")
	}
	// As it was sent: net/url may write a path otherwise than it came.
	raw, _, _ := strings.Cut(r.RequestURI[len(proxyPrefix):], "?")
	resource, _, _ := strings.Cut(raw, "/")
	raw = raw[len(resource):]
	if _, err := text("resource", resource, maxResource); err != nil {
		return err
	}
	path, err := url.PathUnescape(raw)
	if err != nil {
		return badRequest("The path is not written as a URL must be; write % as %25.")
	}
	out, u := *r, *r.URL
	u.Path, u.RawPath = path, raw
	out.URL = &u
	return s.cfg.Proxy.Forward(w, &out, id, token.Key{Account: account, Resource: resource})
}

// failProxy answers with the problem of err. It asks for Basic as well: clients of
// Exchange Web Services send a password only where it is asked for.
func (s *Server) failProxy(w http.ResponseWriter, r *http.Request, err error) {
	if s.isWrongKey(err) {
		s.failWrongKey(w, r)
		return
	}
	p := s.note(w, r, err)
	if title := proxyTitle(p); title != "" && token.AsError(err).Op == "proxy" {
		p.Title = title
	}
	if p.Status == http.StatusUnauthorized {
		w.Header()["Www-Authenticate"] = []string{`Basic realm="M365 Token Broker", charset="UTF-8"`}
	}
	s.send(w, p)
}

// proxyTitle is the title of a problem that the resource has, and not Microsoft
// Entra ID.
func proxyTitle(p Problem) string {
	switch {
	case is(p, token.KindUnavailable):
		return "The resource cannot be reached"
	case is(p, token.KindInvalid):
		return "The resource gave no usable answer"
	case is(p, token.KindTimeout):
		return "The resource took too long"
	}
	return ""
}
