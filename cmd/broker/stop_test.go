package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

// A request that waits for an authority that does not answer at all is told at
// the stop that the broker is stopping; the stop takes less than ten seconds and
// is no failure.
func TestAStopAnswersWhatHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ready()
	w.fault(sandbox.Fault{Scenario: "hang", Endpoint: sandbox.EndpointTokenRefresh})
	inFlight := make(chan answer, 1)
	go func() { inFlight <- w.try(w.key, http.MethodGet, "/v1/token?resource=graph", "") }()
	w.eventually("the redemption starts", func() bool { return w.redemptions() == 1 })
	began := time.Now()
	w.stop() // fails the test where the broker ends with an error
	if took := time.Since(began); took >= 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
	a := <-inFlight
	if a.err != nil {
		t.Fatal(a.err)
	}
	if p := a.problem(); a.status != http.StatusServiceUnavailable || p.Code != httpapi.ProblemCodeUpstreamUnavailable || p.RetryAfter == 0 || !strings.HasPrefix(p.Detail, "The broker is stopping; ") {
		t.Errorf("the caller got %d %+v", a.status, p)
	}
}
