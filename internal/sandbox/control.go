package sandbox

import (
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The control key opens /sandbox/…; with it, X-Sandbox-User on an authorize
// request approves it as that user.
const (
	headerControlKey  = "X-Sandbox-Key"
	headerControlUser = "X-Sandbox-User"
)

// control is the API that steers a running sandbox from another process.
func (s *Sandbox) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sandbox/stats", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Stats()) })
	mux.HandleFunc("DELETE /sandbox/stats", s.done(func(*http.Request) error { s.ResetStats(); return nil }))
	mux.HandleFunc("GET /sandbox/scenarios", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, Scenarios()) })
	mux.HandleFunc("GET /sandbox/users", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Users()) })
	mux.HandleFunc("POST /sandbox/users", s.done(s.controlUser))
	mux.HandleFunc("GET /sandbox/codes", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.PendingCodes()) })
	mux.HandleFunc("GET /sandbox/faults", s.controlListFaults)
	mux.HandleFunc("POST /sandbox/faults", s.controlFault)
	mux.HandleFunc("DELETE /sandbox/faults", s.done(func(*http.Request) error { s.ClearFaults(); return nil }))
	mux.HandleFunc("DELETE /sandbox/faults/{id}", s.done(s.controlClear))
	mux.HandleFunc("POST /sandbox/approve", s.done(s.controlApprove))
	mux.HandleFunc("POST /sandbox/decline", s.done(s.controlDecline))
	mux.HandleFunc("POST /sandbox/revoke", s.done(s.controlRevoke))
	mux.HandleFunc("POST /sandbox/disable", s.done(s.controlDisable))
	mux.HandleFunc("POST /sandbox/frequency", s.done(s.controlFrequency))
	mux.HandleFunc("POST /sandbox/clock", s.done(s.controlClock))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.hasControlKey(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="sandbox control"`)
			writeJSON(w, http.StatusUnauthorized, problem("the control key is missing or wrong; `broker sandbox` prints it at start"))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// hasControlKey compares in constant time.
func (s *Sandbox) hasControlKey(r *http.Request) bool {
	key := r.Header.Get(headerControlKey)
	if scheme, bearer, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		key = cmp.Or(key, bearer)
	}
	return subtle.ConstantTimeCompare([]byte(key), []byte(s.controlKey)) == 1
}

func problem(text string) map[string]string { return map[string]string{"error": text} }

// done serves a command: 204, or 400 with the reason.
func (s *Sandbox) done(command func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := command(r); err != nil {
			writeJSON(w, http.StatusBadRequest, problem(err.Error()))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// read decodes a JSON object with known fields only; no body is {}.
func read(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("the body is not the expected JSON object: %w", err)
	}
	return nil
}

// faultJSON is a fault on the wire; times are in seconds.
type faultJSON struct {
	ID         int      `json:"id,omitempty"`
	Hits       int      `json:"hits,omitempty"`
	Scenario   string   `json:"scenario"`
	Endpoint   Endpoint `json:"endpoint,omitempty"`
	Count      int      `json:"count,omitempty"`
	Skip       int      `json:"skip,omitempty"`
	User       string   `json:"user,omitempty"`
	RetryAfter int      `json:"retry_after,omitempty"`
}

func (s *Sandbox) controlFault(w http.ResponseWriter, r *http.Request) {
	var f faultJSON
	err := read(r, &f)
	if err == nil {
		f.ID, err = s.Fault(Fault{
			Scenario: f.Scenario, Endpoint: f.Endpoint, Count: f.Count, Skip: f.Skip, User: f.User,
			RetryAfter: time.Duration(f.RetryAfter) * time.Second,
		})
	}
	if err != nil {
		writeJSON(w, http.StatusBadRequest, problem(err.Error()))
		return
	}
	writeJSON(w, http.StatusCreated, f)
}

func (s *Sandbox) controlListFaults(w http.ResponseWriter, _ *http.Request) {
	all := []faultJSON{}
	for _, a := range s.Faults() {
		f := a.Fault
		all = append(all, faultJSON{
			ID: a.ID, Hits: a.Hits, Scenario: f.Scenario, Endpoint: f.Endpoint, Count: f.Count, Skip: f.Skip,
			User: f.User, RetryAfter: seconds(f.RetryAfter),
		})
	}
	writeJSON(w, http.StatusOK, all)
}

func (s *Sandbox) controlClear(r *http.Request) error {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || !s.ClearFault(id) {
		return fmt.Errorf("no fault with ID %q is in force", r.PathValue("id"))
	}
	return nil
}

// userJSON names a user, or a code, or both.
type userJSON struct {
	User     string `json:"user"`
	UserCode string `json:"user_code"`
	Disabled *bool  `json:"disabled"`
}

func (s *Sandbox) controlUser(r *http.Request) error {
	var u userJSON
	if err := read(r, &u); err != nil {
		return err
	}
	_, err := s.AddUser(u.User)
	return err
}

// controlApprove approves one user code, or, without one, every sign-in from now
// on; the empty user then leaves the decision to a person again.
func (s *Sandbox) controlApprove(r *http.Request) error {
	var u userJSON
	if err := read(r, &u); err != nil {
		return err
	}
	if u.UserCode == "" {
		return s.ApproveAll(u.User)
	}
	return s.Approve(u.UserCode, cmp.Or(u.User, s.Users()[0].Username))
}

func (s *Sandbox) controlDecline(r *http.Request) error {
	var u userJSON
	if err := read(r, &u); err != nil {
		return err
	}
	return s.Decline(u.UserCode)
}

func (s *Sandbox) controlRevoke(r *http.Request) error {
	var u userJSON
	if err := read(r, &u); err != nil {
		return err
	}
	return s.Revoke(u.User)
}

func (s *Sandbox) controlDisable(r *http.Request) error {
	var u userJSON
	if err := read(r, &u); err != nil {
		return err
	}
	return s.Disable(u.User, u.Disabled == nil || *u.Disabled)
}

// timeJSON is a number of seconds.
type timeJSON struct {
	Seconds int `json:"seconds"`
}

func (s *Sandbox) controlFrequency(r *http.Request) error {
	var t timeJSON
	if err := read(r, &t); err != nil {
		return err
	}
	s.SetSignInFrequency(time.Duration(t.Seconds) * time.Second)
	return nil
}

func (s *Sandbox) controlClock(r *http.Request) error {
	var t timeJSON
	if err := read(r, &t); err != nil {
		return err
	}
	s.SetClock(time.Duration(t.Seconds) * time.Second)
	return nil
}
