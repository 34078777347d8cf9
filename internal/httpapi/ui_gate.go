package httpapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file is what a browser must say of a request for the broker's own page. To
// all other paths the gate lets no browser through.

// pagePath is where the page and all that it calls stand.
const pagePath = "/ui"

// The headers that only the page's script sends.
const (
	headerCSRF   = "X-Broker-CSRF"
	headerPerson = "X-Broker-Person" // somebody did something since the last request
)

// isPage reports whether a request target, as it was sent, is the page's.
func isPage(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	return isUnder(path, pagePath)
}

// pagePolicy lets the page have what comes from its own origin, and nothing else:
// no inline script or style, no frame, no form, no text that is taken for HTML.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// pageHeaders are on every answer under pagePath, errors included.
func pageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}

// ownOrigin is the page's origin, as the request came. The gate has checked Host.
func ownOrigin(r *http.Request) string { return "http://" + r.Host }

// only reports whether the header was sent once, with one of the values.
func only(h http.Header, name string, values ...string) bool {
	sent := h[name]
	return len(sent) == 1 && slices.Contains(values, sent[0])
}

// browserMark is the gate's reason against what a browser says of a request; empty
// where there is none. page is whether the request is for the page, over TCP.
func browserMark(r *http.Request, page bool) (reason, header string) {
	h := r.Header
	switch {
	case len(h["Origin"]) > 0 && (!page || !only(h, "Origin", ownOrigin(r))):
		return gateOrigin, "Origin"
	case len(h["Referer"]) > 0 && (!page || !fromOwnPage(r)):
		return gateReferer, "Referer"
	case len(h["Sec-Fetch-Site"]) > 0 && (!page || !ownFetch(r)):
		return gateFetchSite, "Sec-Fetch-Site"
	default:
		return "", ""
	}
}

func fromOwnPage(r *http.Request) bool {
	sent := r.Header["Referer"]
	return len(sent) == 1 && strings.HasPrefix(sent[0], ownOrigin(r)+pagePath+"/")
}

// ownFetch takes what the page itself loads, and a page that a person opened: by
// the address bar, or by `broker ui`. A link on another page is "cross-site", or,
// from another port of this address, "same-site".
func ownFetch(r *http.Request) bool {
	return only(r.Header, "Sec-Fetch-Site", "same-origin") ||
		r.Method == http.MethodGet && only(r.Header, "Sec-Fetch-Site", "none")
}

// fromScript wants the marks that browsers put on what a page's own script sends,
// and that no page can take off or forge. Browsers leave Origin out of a GET to
// the page's own origin.
func fromScript(r *http.Request) error {
	if only(r.Header, "Sec-Fetch-Site", "same-origin") && (r.Method == http.MethodGet || only(r.Header, "Origin", ownOrigin(r))) {
		return nil
	}
	return token.NewError(token.KindDenied, "check page", "Only the broker's own page may ask for this, in a browser that sends Sec-Fetch-Site; to open it, run: broker ui")
}

// authenticatePage finds whether a request comes from a page that is in.
func (s *Server) authenticatePage(r *http.Request) (*consumer.Identity, error) {
	if err := fromScript(r); err != nil {
		return nil, err
	}
	h := r.Header
	byPerson := r.Method != http.MethodGet || only(h, headerPerson, "1")
	csrf := h[http.CanonicalHeaderKey(headerCSRF)]
	if len(csrf) != 1 {
		csrf = []string{""}
	}
	if err := s.door.use(r.CookiesNamed(s.door.cookie), csrf[0], byPerson); err != nil {
		return nil, err
	}
	return consumer.PageIdentity(), nil
}

// userOf is the account of the system that a request comes from; empty where the
// system does not tell.
func userOf(r *http.Request) string {
	p := peerOf(r.Context())
	if p == nil {
		return ""
	}
	proc, err := p.Process(r.Context())
	if err != nil {
		return ""
	}
	return proc.User
}
