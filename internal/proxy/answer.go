package proxy

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// prefix is what the proxy's own paths begin with.
const prefix = "/proxy/"

// smallAnswer is the size up to which an answer of known length is sent in one
// piece; all others are sent on as they come.
const smallAnswer = 64 << 10

// modify makes the answer of the resource one for the caller, or says why it is
// none.
func (x *exchange) modify(res *http.Response) error {
	if err := x.refused(res); err != nil {
		return err
	}
	h := res.Header
	if err := x.relocate(res.StatusCode, h); err != nil {
		return err
	}
	if res.StatusCode == http.StatusUnauthorized {
		h["Www-Authenticate"] = bearerOnly(h["Www-Authenticate"])
	}
	x.cookies(h)
	// They speak of the resource's address, and would be held against ours.
	delete(h, "Alt-Svc")
	delete(h, "Strict-Transport-Security")
	delete(x.w.Header(), "Cache-Control")
	delete(x.w.Header(), headerRequestID)
	x.restore(h)
	x.rp.FlushInterval = -1
	if res.ContentLength >= 0 && res.ContentLength <= smallAnswer {
		x.rp.FlushInterval = 0
	}
	res.Body = &watched{ReadCloser: res.Body, touch: x.watch.touch}
	x.status, x.took = res.StatusCode, time.Since(x.began)
	return nil
}

// restore sets what every answer of the broker has, in the place of the
// resource's. An answer of 1xx before it has taken it away.
func (x *exchange) restore(h http.Header) {
	h["Cache-Control"] = []string{"no-store"}
	h[headerRequestID] = []string{x.requestID}
}

// watched notes each read of an answer's body.
type watched struct {
	io.ReadCloser
	touch func()
}

// Read implements io.Reader.
func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.touch()
	}
	return n, err
}

const (
	ewsBlocked = "Your token is fine, your tenant blocks Exchange Web Services (EWS): an administrator must run Set-OrganizationConfig -EwsEnabled $true " +
		"and add the application ID of the broker's app registration with -EwsAllowedAppIDs; " +
		"since 1 October 2026 Exchange Online lets only listed applications use EWS, and on 1 April 2027 it ends for good, so move to Microsoft Graph (run: broker ews report)."
	proxyPassword = "The outbound proxy wants a password; set proxy_url to http://user:password@host:port."
)

// refused says which answers are no answers of the resource to this request.
func (x *exchange) refused(res *http.Response) error {
	switch {
	case res.StatusCode < http.StatusOK: // net/http panics where it is told to write such
		return errAnswer
	case res.StatusCode == http.StatusForbidden && len(res.Header["X-Ews-Policy-Reason"]) > 0:
		return token.NewError(token.KindPolicyBlocked, "use EWS", ewsBlocked)
	case res.StatusCode == http.StatusProxyAuthRequired:
		return token.NewError(token.KindUnavailable, opProxy, proxyPassword)
	}
	return nil
}

// relocate lets the addresses of an answer lead back to us. A redirect to
// elsewhere is refused: the caller would go there with its key for us, or past us.
func (x *exchange) relocate(status int, h http.Header) error {
	for _, name := range []string{"Location", "Content-Location"} {
		if len(h[name]) == 0 {
			continue
		}
		u, err := x.target.Parse(h[name][0])
		if err == nil {
			if rest, ok := x.base.rest(u); ok {
				h[name] = []string{"http://" + x.host + prefix + x.base.resource + rest}
				continue
			}
		}
		if name == "Location" && isRedirect(status) {
			return elsewhere(u)
		}
	}
	return nil
}

// isRedirect reports whether some client follows Location of an answer with this
// status; .NET does so at 300.
func isRedirect(status int) bool {
	return status >= http.StatusMultipleChoices && status < http.StatusBadRequest && status != http.StatusNotModified
}

func elsewhere(u *url.URL) error {
	host := "another address"
	if u != nil && u.Hostname() != "" && len(u.Hostname()) <= 253 {
		host = printable(u.Hostname())
	}
	return token.NewError(token.KindInvalid, opProxy, "The resource redirects to "+host+", which is outside its base_url, and the broker's token must not go there; "+
		"to download a file, read its @microsoft.graph.downloadUrl and fetch that address without the broker.")
}

// printable is a host name for a sentence.
func printable(host string) string {
	return strings.Map(func(c rune) rune {
		if c > ' ' && c <= '~' && c != '"' && c != '<' && c != '>' {
			return c
		}
		return -1
	}, host)
}

// cookies makes cookies of the resource come back to the resource: they are for
// our address, without TLS, below our path. Exchange keeps a client on one server
// with them.
func (x *exchange) cookies(h http.Header) {
	for i, line := range h["Set-Cookie"] {
		attributes := strings.Split(line, ";")
		kept := attributes[:1]
		path := ""
		for _, a := range attributes[1:] {
			name, value, _ := strings.Cut(strings.TrimSpace(a), "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "domain", "secure":
			case "path":
				path = strings.TrimSpace(value)
			default:
				kept = append(kept, a)
			}
		}
		kept = append(kept, " Path="+x.cookiePath(path))
		h["Set-Cookie"][i] = strings.Join(kept, ";")
	}
}

// cookiePath is where a cookie for this path of the resource is sent by the caller.
func (x *exchange) cookiePath(path string) string {
	own := prefix + x.base.resource + "/"
	rest, below := strings.CutPrefix(path, x.base.path+"/")
	if !below || rest == "" || !staysBelow(rest) {
		return own
	}
	return own + rest
}
