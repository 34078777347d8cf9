package sandbox

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Endpoint names a part of the sandbox in faults and statistics.
type Endpoint string

// The endpoints. The token endpoint counts as three, by grant.
const (
	EndpointDiscovery    Endpoint = "discovery"
	EndpointKeys         Endpoint = "keys"
	EndpointDeviceCode   Endpoint = "devicecode"
	EndpointDevicePage   Endpoint = "devicelogin"
	EndpointAuthorize    Endpoint = "authorize"
	EndpointTokenPoll    Endpoint = "token-poll"
	EndpointTokenCode    Endpoint = "token-code"
	EndpointTokenRefresh Endpoint = "token-refresh"
	EndpointGraph        Endpoint = "graph"
	EndpointEWS          Endpoint = "ews"
)

// Endpoints lists every endpoint.
func Endpoints() []Endpoint {
	return []Endpoint{
		EndpointDiscovery, EndpointKeys, EndpointDeviceCode, EndpointDevicePage, EndpointAuthorize,
		EndpointTokenPoll, EndpointTokenCode, EndpointTokenRefresh, EndpointGraph, EndpointEWS,
	}
}

const (
	headerRequestID     = "X-Ms-Request-Id"
	headerCorrelationID = "Client-Request-Id"
)

// maxForm and maxSOAP bound request bodies.
const (
	maxForm = 64 << 10
	maxSOAP = 1 << 20
)

// routes is the whole sandbox as one handler.
func (s *Sandbox) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", s.serveHome)
	mux.HandleFunc("/devicelogin", s.serveDevicePage)
	mux.HandleFunc("/signin", s.serveSignInPage)
	mux.HandleFunc("/common/discovery/instance", s.serveInstance)
	mux.HandleFunc("/v1.0/", s.serveGraph)
	mux.HandleFunc("/EWS/Exchange.asmx", s.serveEWS)
	mux.Handle("/sandbox/", s.control())
	mux.HandleFunc("/", s.serveTenant)
	return s.observe(mux)
}

// serveTenant serves /{tenant}/…, Entra's endpoints.
func (s *Sandbox) serveTenant(w http.ResponseWriter, r *http.Request) {
	tenant, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch path {
	case "v2.0/.well-known/openid-configuration":
		s.run(EndpointDiscovery, w, r, func(w http.ResponseWriter, _ *http.Request) { s.serveDiscovery(w, tenant) })
	case "discovery/v2.0/keys":
		s.run(EndpointKeys, w, r, s.serveKeys)
	case "oauth2/v2.0/devicecode":
		s.run(EndpointDeviceCode, w, r, s.forTenant(tenant, s.serveDeviceCode))
	case "oauth2/v2.0/token":
		s.runToken(w, r, s.forTenant(tenant, s.serveToken))
	case "oauth2/v2.0/authorize":
		s.serveAuthorize(w, r, tenant)
	default:
		http.NotFound(w, r)
	}
}

// forTenant lets only POST requests to our tenant through to next.
func (s *Sandbox) forTenant(tenant string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			s.refuse(w, errPost)
			return
		}
		if err := r.ParseForm(); err != nil {
			s.refuse(w, errTooLarge)
			return
		}
		if e := checkTenant(tenant); e != nil {
			s.refuse(w, *e)
			return
		}
		next(w, r)
	}
}

// checkTenant knows our tenant by GUID and by domain.
func checkTenant(tenant string) *oauthError {
	switch strings.ToLower(tenant) {
	case tenantID, tenantDomain:
		return nil
	case "common", "organizations", "consumers":
		return new(errSingleTenant)
	}
	return new(errNoTenant)
}

// run counts a request, delays it, and serves the next fault for it, else next.
func (s *Sandbox) run(e Endpoint, w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	defer s.stats.begin(e)()
	if !pause(r.Context(), s.cfg.Latency) {
		abort() // the caller is gone
	}
	f := s.nextFault(e, r)
	if f == nil {
		next(w, r)
		return
	}
	s.log.DebugContext(r.Context(), "fault", slog.String("endpoint", string(e)), slog.String("scenario", f.Fault.Scenario))
	if e == EndpointTokenPoll && !f.scenario.around {
		s.stats.poll(r.PostForm.Get("device_code"), "fault")
	}
	f.scenario.act(s, call{endpoint: e, fault: *f, w: w, r: r, next: next})
}

// runToken is run for the token endpoint, whose grant decides what it counts as.
func (s *Sandbox) runToken(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	if err := r.ParseForm(); err != nil {
		s.refuse(w, errTooLarge)
		return
	}
	e := EndpointTokenRefresh
	switch r.PostForm.Get("grant_type") {
	case grantDevice, grantDeviceURN:
		e = EndpointTokenPoll
	case grantCode:
		e = EndpointTokenCode
	}
	s.run(e, w, r, next)
}

// pause waits d, or less where ctx ends; it reports whether d passed.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// observe gives every answer its IDs, bounds every body, and logs.
func (s *Sandbox) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Date", s.now().UTC().Format(http.TimeFormat))
		h.Set(headerRequestID, newGUID())
		id := r.Header.Get(headerCorrelationID)
		if !isGUID(id) {
			id = newGUID()
		}
		h.Set(headerCorrelationID, id)
		h.Set("Cache-Control", "no-store, no-cache")
		h.Set("Pragma", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		limit := int64(maxForm)
		if strings.HasPrefix(r.URL.Path, "/EWS/") || strings.HasPrefix(r.URL.Path, "/v1.0/") {
			limit = maxSOAP
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		sw, began := &statusWriter{ResponseWriter: w}, time.Now()
		ctx := r.Context()
		defer func() {
			// A path of the sandbox's own holds no secret; a query may.
			s.log.DebugContext(ctx, "request", slog.String("method", r.Method), slog.String("path", r.URL.Path),
				slog.Int("status", sw.status), slog.Duration("took", time.Since(began)))
		}()
		next.ServeHTTP(sw, r)
	})
}

// isGUID keeps what is echoed into headers and JSON to the form of a GUID.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if hyphen != (c == '-') || !hyphen && !hex {
			return false
		}
	}
	return true
}

// statusWriter remembers the status for the log; zero means none was sent.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader keeps the first status.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
