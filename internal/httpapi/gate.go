package httpapi

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/m365-token-broker/broker/internal/token"
)

// maxBody is how much a request's body may hold, in bytes.
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
	switch {
	// The listener is on loopback already; this holds if that is ever got wrong.
	case !isLoopback(r.RemoteAddr):
		return refuse(gatePeer, "Only programs of this machine may call the broker.")
	// Proxies take absolute targets, and path tricks mean one thing to us and
	// another to whoever checked the path before (RFC 9112 section 3.2).
	case !plainTarget(r.RequestURI):
		return refuse(gateTarget, "The request's target must be a plain path; ask for /v1/token and not for a whole URL, //, /./ or an encoded slash.")
	// DNS rebinding: a page's own host name that resolves to loopback.
	case !slices.Contains(s.hosts, r.Host), len(r.Header["Host"]) > 0:
		return refuse(gateHost, fmt.Sprintf("The Host header must be exactly %s.", oneOf(s.hosts)))
	// Any page of a browser: cross-origin requests carry Origin, the others carry
	// Referer or Sec-Fetch-Site. Sec-Fetch-Mode alone is no browser: the fetch of
	// Node.js sends it.
	case len(r.Header["Origin"]) > 0:
		return refuse(gateOrigin, "The broker answers no web page; remove the Origin header.")
	case len(r.Header["Referer"]) > 0:
		return refuse(gateReferer, "The broker answers no web page; remove the Referer header.")
	case len(r.Header["Sec-Fetch-Site"]) > 0:
		return refuse(gateFetchSite, "The broker answers no web page; remove the Sec-Fetch-Site header.")
	// A reverse proxy would hand the broker's tokens to other machines.
	case forwarded(r.Header):
		return refuse(gateForwarded, "The broker must not stand behind a proxy; call it directly.")
	case r.ContentLength > maxBody:
		return gateBody, tooLarge()
	}
	if r.ContentLength != 0 {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	return "", nil
}

func refuse(reason, detail string) (string, error) {
	return reason, token.NewError(token.KindDenied, "gate", detail)
}

func tooLarge() error {
	return &statusError{http.StatusRequestEntityTooLarge, token.NewError(token.KindInvalidRequest, "read body", "The body is too large; it may hold 64 KiB.")}
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
// segment, no backslash, no encoded slash, backslash, dot or NUL.
func plainTarget(target string) bool {
	if target == "" || target[0] != '/' {
		return false
	}
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
