package sandbox

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// otherHost is where redirects lead: a name that never resolves (RFC 6761).
const otherHost = "https://portal.invalid"

// hugeSize is more than any client should read.
const hugeSize = 2 << 20

const (
	portalPage = `<!DOCTYPE html><html><head><title>Guest Wi-Fi</title></head><body><h1>Welcome to the guest network</h1><form action="/accept"><button>Accept and connect</button></form></body></html>`
	badGateway = `<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>`
	proxyPage  = `<html><head><title>407 Proxy Authentication Required</title></head><body><h1>Proxy Authentication Required</h1></body></html>`
)

func writePage(w http.ResponseWriter, status int, page string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(page))
}

func redirect(c call, status int) {
	c.w.Header().Set("Location", otherHost+c.r.URL.Path)
	c.w.WriteHeader(status)
}

// abort ends a request without an answer, or in the middle of one: net/http and
// memoryTransport both close the connection on this value.
func abort() {
	panic(http.ErrAbortHandler) //nolint:forbidigo // net/http knows no other way to break an answer off
}

// reset resets the connection, or, where there is none, breaks the request off.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		abort()
	}
	if t, ok := conn.(*tls.Conn); ok {
		if tcp, ok := t.NetConn().(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a close with linger 0 sends RST
			_ = tcp.Close()
		}
	}
	_ = conn.Close()
}

// hang waits until the caller gives up or the sandbox ends, and never answers.
func hang(_ *Sandbox, c call) {
	<-c.r.Context().Done()
	abort()
}

// slow serves the request after a while.
func slow(_ *Sandbox, c call) {
	if !pause(c.r.Context(), 5*time.Second) {
		abort() // the caller is gone
	}
	c.next(c.w, c.r)
}

// huge sends valid JSON that nobody should read to its end.
func huge(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write([]byte(`{"padding":"`))
	chunk := []byte(strings.Repeat("x", 64<<10))
	for range hugeSize / len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
	_, _ = w.Write([]byte(`"}`))
}

// served lets the request be served into memory.
func served(c call) *memoryWriter {
	m := &memoryWriter{header: c.w.Header()}
	c.next(m, c.r)
	return m
}

// send sends body with the status of m.
func send(c call, m *memoryWriter, body []byte) {
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(m.statusCode())
	_, _ = c.w.Write(body)
}

func truncate(_ *Sandbox, c call) {
	m := served(c)
	send(c, m, m.body.Bytes()[:m.body.Len()/2])
}

func cut(_ *Sandbox, c call) {
	m := served(c)
	c.w.Header().Set("Content-Length", strconv.Itoa(m.body.Len()))
	c.w.WriteHeader(m.statusCode())
	_, _ = c.w.Write(m.body.Bytes()[:m.body.Len()/2])
	_ = http.NewResponseController(c.w).Flush() // memoryWriter has nothing to flush
	abort()
}

func lose(_ *Sandbox, c call) {
	served(c)
	reset(c.w)
}

// omit takes one field out of a successful answer.
func omit(field string) func(*Sandbox, call) {
	return func(_ *Sandbox, c call) {
		change(c, func(answer map[string]json.RawMessage) { delete(answer, field) })
	}
}

// otherCloud names another cloud in a discovery document.
func otherCloud(_ *Sandbox, c call) {
	change(c, func(answer map[string]json.RawMessage) {
		answer["cloud_instance_name"] = json.RawMessage(`"microsoftonline.us"`)
		answer["tenant_region_sub_scope"] = json.RawMessage(`"DODCON"`)
	})
}

// declineScope grants something else (MSAL calls the rest "declined scopes").
func declineScope(_ *Sandbox, c call) {
	change(c, func(answer map[string]json.RawMessage) {
		answer["scope"] = json.RawMessage(`"openid profile ` + audienceGraph + `/User.Read.Basic"`)
	})
}

// change edits a successful JSON answer.
func change(c call, edit func(map[string]json.RawMessage)) {
	m := served(c)
	var answer map[string]json.RawMessage
	if m.statusCode() != http.StatusOK || json.Unmarshal(m.body.Bytes(), &answer) != nil {
		send(c, m, m.body.Bytes())
		return
	}
	edit(answer)
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(answer); err != nil {
		send(c, m, m.body.Bytes())
		return
	}
	send(c, m, out.Bytes())
}

// refuseAt answers with an error in the dress of the endpoint.
func (s *Sandbox) refuseAt(c call, e oauthError) {
	switch c.endpoint {
	case EndpointGraph:
		s.graphError(c.w, statusOr(e), graphCode(statusOr(e)), e.text)
	case EndpointEWS:
		http.Error(c.w, e.text, statusOr(e))
	case EndpointDevicePage, EndpointAuthorize:
		s.showError(c.w, c.r, statusOr(e), e)
	default:
		s.refuse(c.w, e)
	}
}

func statusOr(e oauthError) int {
	if e.status == 0 {
		return http.StatusBadRequest
	}
	return e.status
}

// denyAuthorize sends the browser back as if the person had cancelled.
func denyAuthorize(s *Sandbox, c call) {
	a, page, _ := s.parseAuthorization(c.r)
	if page != nil {
		s.showError(c.w, c.r, http.StatusBadRequest, *page)
		return
	}
	s.sendBack(c.w, c.r, a, s.errorParameters(c.w, a, oauthError{code: "access_denied", suberror: "cancel", aadsts: 65004, text: "User declined to consent to access the app."}))
}
