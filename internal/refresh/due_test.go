package refresh

import (
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

var start = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

func TestDue(t *testing.T) {
	hour := token.Renewal{ObtainedOn: start, ExpiresOn: start.Add(time.Hour), LastAsked: start}
	with := func(f func(*token.Renewal)) token.Renewal { r := hour; f(&r); return r }
	tests := []struct {
		name string
		r    token.Renewal
		want time.Duration // after start
		ok   bool
	}{
		{"three quarters of the lifetime", hour, 45 * time.Minute, true},
		{"jitter up", with(func(r *token.Renewal) { r.Jitter = 1 }), 49*time.Minute + 30*time.Second, true},
		{"jitter down", with(func(r *token.Renewal) { r.Jitter = -1 }), 40*time.Minute + 30*time.Second, true},
		{"refresh_in wins", with(func(r *token.Renewal) { r.RefreshOn = start.Add(20 * time.Minute) }), 20 * time.Minute, true},
		{"refresh_in after the expiry is ignored", with(func(r *token.Renewal) { r.RefreshOn = start.Add(2 * time.Hour) }), 45 * time.Minute, true},
		{"refresh_in in the past is ignored", with(func(r *token.Renewal) { r.RefreshOn = start.Add(-time.Minute) }), 45 * time.Minute, true},
		{"refresh_in has a floor", with(func(r *token.Renewal) { r.RefreshOn = start.Add(time.Second) }), 6 * time.Minute, true},
		{"jitter never passes 95 % of the lifetime", with(func(r *token.Renewal) { r.RefreshOn = start.Add(59 * time.Minute); r.Jitter = 1 }), 57 * time.Minute, true},
		{"a failure holds it back", with(func(r *token.Renewal) { r.HoldUntil = start.Add(50 * time.Minute) }), 50 * time.Minute, true},
		{"a failure is mended before it is due", with(func(r *token.Renewal) { r.Failed, r.HoldUntil = true, start.Add(time.Minute) }), time.Minute, true},
		{"never asked for", with(func(r *token.Renewal) { r.LastAsked = time.Time{} }), 0, false},
		{"idle for a day", with(func(r *token.Renewal) { r.LastAsked = start.Add(-25 * time.Hour) }), 0, false},
		{"idle for a day when it falls due", with(func(r *token.Renewal) { r.LastAsked = start.Add(-23*time.Hour - 30*time.Minute) }), 0, false},
		{"only a person can help", with(func(r *token.Renewal) { r.Dead = true }), 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Due(tt.r)
			if ok != tt.ok || (ok && !got.Equal(start.Add(tt.want))) {
				t.Errorf("Due = %v, %v; want %v, %v", got.Sub(start), ok, tt.want, tt.ok)
			}
		})
	}
}

func TestHold(t *testing.T) {
	tests := []struct {
		name     string
		err      token.Error
		failures int
		want     time.Duration
	}{
		{"sign-in required", token.Error{Kind: token.KindSignInRequired}, 1, 2 * time.Minute},
		{"policy", token.Error{Kind: token.KindPolicyBlocked}, 1, 15 * time.Minute},
		{"throttled with Retry-After", token.Error{Kind: token.KindThrottled, RetryAfter: 17 * time.Second}, 1, 17 * time.Second},
		{"throttled, Retry-After is capped", token.Error{Kind: token.KindThrottled, RetryAfter: 24 * time.Hour}, 1, time.Hour},
		{"throttled without", token.Error{Kind: token.KindThrottled}, 1, time.Minute},
		{"loop detected", token.Error{Kind: token.KindThrottled, AADSTS: 50196, RetryAfter: time.Second}, 1, 5 * time.Minute},
		{"bare 503", token.Error{Kind: token.KindUnavailable, Status: 503}, 1, time.Minute},
		{"503 with Retry-After", token.Error{Kind: token.KindUnavailable, Status: 503, RetryAfter: 3 * time.Second}, 1, 3 * time.Second},
		{"network, first", token.Error{Kind: token.KindUnavailable}, 1, 5 * time.Second},
		{"network, third", token.Error{Kind: token.KindUnavailable}, 3, 20 * time.Second},
		{"network, for long", token.Error{Kind: token.KindUnavailable}, 1000, time.Minute},
		{"portal", token.Error{Kind: token.KindInvalid}, 1, 5 * time.Second},
		{"configuration", token.Error{Kind: token.KindConfiguration}, 1, time.Minute},
		{"the caller's fault", token.Error{Kind: token.KindUnknownAccount}, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Hold(&tt.err, tt.failures); got != tt.want {
				t.Errorf("Hold = %v, want %v", got, tt.want)
			}
		})
	}
}
