package sandbox

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault asks for a scenario of Scenarios.
type Fault struct {
	Scenario   string        // its name
	Endpoint   Endpoint      // where it strikes; empty: where the scenario strikes by default
	Count      int           // how many requests it strikes; 0 is every one until it is cleared
	Skip       int           // how many requests pass first
	User       string        // only requests of this user, where the request shows one; empty: all
	RetryAfter time.Duration // for the scenarios that send Retry-After; zero: theirs
}

// ActiveFault is a fault in force.
type ActiveFault struct {
	ID    int
	Hits  int // requests it struck so far
	Fault Fault
}

// activeFault is a fault in force; Sandbox.mu guards it.
type activeFault struct {
	ActiveFault
	scenario  *scenario
	endpoints []Endpoint
	skipped   int
	demand    int64 // of a claims challenge: the "nbf" that satisfies it
}

// call is a request that a fault strikes.
type call struct {
	endpoint Endpoint
	fault    activeFault // a copy
	w        http.ResponseWriter
	r        *http.Request
	next     http.HandlerFunc
}

// Fault puts a fault in force and returns its ID. Faults strike in the order
// they were placed: the next begins where the one before is used up, so a
// sequence of faults with a Count each plays one after the other.
func (s *Sandbox) Fault(f Fault) (int, error) {
	sc := findScenario(f.Scenario)
	if sc == nil {
		return 0, fmt.Errorf("sandbox: unknown scenario %q; there are %s", f.Scenario, strings.Join(scenarioNames(), ", "))
	}
	endpoints := sc.Endpoints
	if f.Endpoint != "" {
		if !slices.Contains(Endpoints(), f.Endpoint) {
			return 0, fmt.Errorf("sandbox: unknown endpoint %q; there are %v", f.Endpoint, Endpoints())
		}
		if sc.only && !slices.Contains(sc.Endpoints, f.Endpoint) {
			return 0, fmt.Errorf("sandbox: scenario %q strikes at %v only", f.Scenario, sc.Endpoints)
		}
		endpoints = []Endpoint{f.Endpoint}
	}
	if f.Count < 0 || f.Skip < 0 || f.RetryAfter < 0 {
		return 0, fmt.Errorf("sandbox: count, skip and retry_after of a fault cannot be negative")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.User != "" {
		u, err := s.find(f.User)
		if err != nil {
			return 0, err
		}
		f.User = u.Username
	}
	s.state.lastFault++
	s.state.lastNBF = max(s.state.lastNBF+1, s.now().Unix())
	s.state.faults = append(s.state.faults, &activeFault{
		ActiveFault: ActiveFault{ID: s.state.lastFault, Fault: f}, scenario: sc, endpoints: endpoints, demand: s.state.lastNBF,
	})
	return s.state.lastFault, nil
}

// ClearFault takes a fault away; it reports whether it was still in force.
func (s *Sandbox) ClearFault(id int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.state.faults)
	s.state.faults = slices.DeleteFunc(s.state.faults, func(f *activeFault) bool { return f.ID == id })
	return len(s.state.faults) < n
}

// ClearFaults takes every fault away.
func (s *Sandbox) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.faults = nil
}

// Faults lists the faults in force, in their order.
func (s *Sandbox) Faults() []ActiveFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]ActiveFault, 0, len(s.state.faults))
	for _, f := range s.state.faults {
		all = append(all, f.ActiveFault)
	}
	return all
}

// nextFault finds the fault that strikes this request and counts it.
func (s *Sandbox) nextFault(e Endpoint, r *http.Request) *activeFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.state.faults) == 0 {
		return nil
	}
	user := s.userOf(e, r)
	for i, f := range s.state.faults {
		if !slices.Contains(f.endpoints, e) || f.Fault.User != "" && f.Fault.User != user {
			continue
		}
		if f.scenario.strikes != nil && !f.scenario.strikes(s, f, r) {
			continue
		}
		if f.skipped < f.Fault.Skip {
			f.skipped++
			continue
		}
		f.Hits++
		if f.Hits == f.Fault.Count {
			s.state.faults = slices.Delete(s.state.faults, i, i+1)
		}
		struck := *f
		return &struck
	}
	return nil
}

// userOf is whose request this is, as far as it shows; s.mu is held.
func (s *Sandbox) userOf(e Endpoint, r *http.Request) string {
	switch e {
	case EndpointTokenRefresh:
		if t := s.state.tokens[sha256.Sum256([]byte(r.PostForm.Get("refresh_token")))]; t != nil {
			return t.family.user.Username
		}
	case EndpointTokenPoll:
		if d := s.state.devices[r.PostForm.Get("device_code")]; d != nil && d.user != nil {
			return d.user.Username
		}
	case EndpointTokenCode:
		if a := s.state.codes[r.PostForm.Get("code")]; a != nil {
			return a.user.Username
		}
	case EndpointGraph, EndpointEWS:
		if c, err := s.bearer(r); err == nil {
			return c.UPN
		}
	default: // the others show nobody
	}
	return ""
}
