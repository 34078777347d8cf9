package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/token"
)

// BenchmarkForward is what the proxy itself costs for a small call: no sockets.
func BenchmarkForward(b *testing.B) {
	p, err := New(Config{
		Tokens: newTokens(&source{}), Bases: map[string]string{"graph": "https://graph.example"},
		Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: http.StatusOK, ContentLength: 2, Body: io.NopCloser(strings.NewReader("{}")),
				Header: http.Header{"Content-Type": {"application/json"}, "Request-Id": {"1"}, "Date": {"x"}},
			}, nil
		}),
	})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/v1.0/me?$select=id", nil)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Authorization", "Bearer x")
	id := somebody()
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Forward(httptest.NewRecorder(), r, id, token.Key{Resource: "graph"}); err != nil {
			b.Fatal(err)
		}
	}
}
