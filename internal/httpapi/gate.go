package httpapi

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// maxBody is how much a request's body may hold, in bytes; see bodyLimit.
const maxBody = 64 << 10

// The reasons that refusals are counted by.
const (
	gatePeer      = "peer"
	gateTarget    = "target"
	gateHost      = "host"
	gateOrigin    = "origin"
	gateReferer   = "referer"
	gateFetchSite = "sec-fetch-site"
	gateForwarded = "forwarded"
	gateBody      = "body"
)

// gate refuses what does not come straight from a program of this machine. It
// runs before anything else, so that nothing of a refused request is looked at.
func (s *Server) gate(w http.ResponseWriter, r *http.Request) (reason string, err error) {
	local := isLocal(r)
	mark, header := browserMark(r, !local && isPage(r.RequestURI))
	switch {
	// The listener is on loopback already; this holds if that is ever got wrong.
	case !local && !isLoopback(r.RemoteAddr):
		return refuse(gatePeer, "Only programs of this machine may call the broker.")
	// Proxies take absolute targets, and path tricks mean one thing to us and
	// another to whoever checked the path before (RFC 9112 section 3.2).
	case !plainTarget(r.RequestURI):
		return refuse(gateTarget, "The request's target must be a plain path; ask for /v1/token and not for a whole URL, //, /./ or an encoded slash.")
	// DNS rebinding: a page's own host name that resolves to loopback.
	case !slices.Contains(s.hosts, r.Host) && (!local || r.Host != localHost), len(r.Header["Host"]) > 0:
		return refuse(gateHost, fmt.Sprintf("The Host header must be exactly %s.", oneOf(s.hosts)))
	// Any page of a browser, but the broker's own on its own paths: cross-origin
	// requests carry Origin, the others carry Referer or Sec-Fetch-Site.
	// Sec-Fetch-Mode alone is no browser: the fetch of Node.js sends it.
	case mark != "":
		return refuse(mark, "The broker answers no web page but its own; remove the "+header+" header.")
	// A reverse proxy would hand the broker's tokens to other machines.
	case forwarded(r.Header):
		return refuse(gateForwarded, "The broker must not stand behind a proxy; call it directly.")
	}
	if isProxied(r.RequestURI) {
		return "", nil // its body is the resource's, and goes on as it comes
	}
	limit := bodyLimit(r)
	if r.ContentLength > limit {
		return gateBody, tooLarge(limit)
	}
	if r.ContentLength != 0 {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
	}
	return "", nil
}

// ProbeHost is the Host with which `broker doctor` tries whether a foreign one is
// refused. No page can have it, as no name ends like that (RFC 6761).
const ProbeHost = "doctor.invalid"

// isProbe reports whether what the gate refused was only that trial: it asks for
// nothing, and is no attack that somebody should be told of.
func isProbe(reason string, r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	return err == nil && reason == gateHost && host == ProbeHost && r.Method == http.MethodGet && r.RequestURI == "/livez"
}

func refuse(reason, detail string) (string, error) {
	return reason, token.NewError(token.KindDenied, "gate", detail)
}

func tooLarge(limit int64) error {
	return &statusError{http.StatusRequestEntityTooLarge, token.NewError(token.KindInvalidRequest, "read body", fmt.Sprintf("The body is too large; it may hold %d KiB.", limit>>10))}
}

// localHost is what callers put into Host over a connection that has no host.
const localHost = "localhost"

// isLocal reports whether the request came over a Unix socket or a named pipe of
// ours: those have no address, and cannot be reached from other machines (our
// pipes refuse remote clients).
func isLocal(r *http.Request) bool {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && (a.Network() == "unix" || a.Network() == "pipe")
}

func isLoopback(peer string) bool {
	a, err := netip.ParseAddrPort(peer)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

func forwarded(h http.Header) bool {
	return len(h["X-Forwarded-For"]) > 0 || len(h["Forwarded"]) > 0 ||
		len(h["X-Forwarded-Host"]) > 0 || len(h["X-Forwarded-Proto"]) > 0 || len(h["X-Real-Ip"]) > 0
}

// plainTarget reports whether a request target is in origin form (RFC 9112
// section 3.2.1), and its path is written in one way only: no empty or dot
// segment, no backslash, no encoded slash, backslash, dot or NUL. Behind
// /proxy/{resource}/ more is allowed, see harmlessPath.
func plainTarget(target string) bool {
	if target == "" || target[0] != '/' {
		return false
	}
	if isProxied(target) {
		path, _, _ := strings.Cut(target, "?")
		resource, rest, _ := strings.Cut(path[len(proxyPrefix):], "/")
		return resource != "" && plainPath(proxyPrefix+resource) && harmlessPath(rest)
	}
	return plainPath(target)
}

// proxyPrefix is what the proxy's paths begin with.
const proxyPrefix = "/proxy/"

// isProxied reports whether a request target, as it was sent, is the proxy's.
func isProxied(target string) bool { return strings.HasPrefix(target, proxyPrefix) }

// harmlessPath reports whether a path can go on to a resource as it is. Names of
// files stand in it, so encoded slashes and leading dots do too (Graph's
// root:/.config and root%3A%2Fa%2Fb.txt%3A). What is refused could leave the base
// URL: dot segments, backslashes and control characters, also behind two
// encodings, as one server may decode what another has decoded.
func harmlessPath(path string) bool {
	once, err := url.PathUnescape(path)
	if err != nil || strings.Contains(path, "#") || !staysInside(path) {
		return false
	}
	if once == path {
		return true
	}
	if !staysInside(once) {
		return false
	}
	twice, err := url.PathUnescape(once)
	return err != nil || staysInside(twice) // a name such as 100% is no encoding
}

func staysInside(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' })
}

func plainPath(target string) bool {
	for i := 0; i < len(target) && target[i] != '?'; i++ {
		switch target[i] {
		case '\\', '#':
			return false
		case '/':
			if i+1 < len(target) && (target[i+1] == '/' || target[i+1] == '.') {
				return false
			}
		case '%':
			if i+2 >= len(target) || trickyByte(target[i+1], target[i+2]) {
				return false
			}
		}
	}
	return true
}

// trickyByte reports whether the hex digits stand for one of / . \ and NUL.
func trickyByte(hi, lo byte) bool {
	lo |= 0x20 // lower case; digits stay as they are
	return hi == '2' && (lo == 'f' || lo == 'e') || hi == '5' && lo == 'c' || hi == '0' && lo == '0'
}

// hostsOf are the values of Host that name one of our addresses.
func hostsOf(listen []string) ([]string, error) {
	var hosts []string
	for _, l := range listen {
		host, port, err := net.SplitHostPort(l)
		if err != nil {
			return nil, fmt.Errorf("listen address %q is not host:port", l)
		}
		names := []string{host, "localhost"}
		if host == "localhost" {
			names = []string{"localhost", "127.0.0.1", "::1"}
		} else if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("listen address %q is not a loopback address; use 127.0.0.1 or [::1]", l)
		}
		for _, n := range names {
			if h := net.JoinHostPort(n, port); !slices.Contains(hosts, h) {
				hosts = append(hosts, h)
			}
		}
	}
	if len(hosts) == 0 {
		return nil, errors.New("there is no listen address")
	}
	return hosts, nil
}
