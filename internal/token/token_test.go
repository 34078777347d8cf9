package token_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

type holder struct {
	Exported token.Secret
	hidden   token.Secret
	pointer  *token.Secret
}

func TestSecretNeverPrints(t *testing.T) {
	s := token.NewSecret("CANARY")
	h := holder{Exported: s, hidden: s, pointer: &s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
		for _, v := range []any{s, &s, h, &h, []token.Secret{s}, map[string]token.Secret{"k": s}} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	fmt.Fprintln(&out, s, h, fmt.Errorf("wrap %v", s))
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "secret", s, "holder", h, "pointer", &s)
	}
	for _, v := range []any{s, h, map[string]any{"s": s}} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(raw)
	}
	if strings.Contains(out.String(), "CANARY") || strings.Contains(out.String(), "43414e415259") {
		t.Errorf("a secret was printed:\n%s", out.String())
	}
	if s.Reveal() != "CANARY" {
		t.Error("Reveal lost the secret")
	}
}

func TestSecretEqual(t *testing.T) {
	a, b, c, zero := token.NewSecret("a"), token.NewSecret("a"), token.NewSecret("cc"), token.NewSecret("")
	if !a.Equal(b) || a.Equal(c) || a.Equal(zero) || !zero.Equal(token.Secret{}) || !zero.IsZero() || a.IsZero() {
		t.Error("Equal or IsZero is wrong")
	}
}

func TestParseScopes(t *testing.T) {
	tests := []struct {
		name     string
		in       []string
		want     string
		audience string
		err      error
		text     string
	}{
		{"default", []string{"https://graph.microsoft.com/.default"}, "https://graph.microsoft.com/.default", "https://graph.microsoft.com", nil, ""},
		{"short scope is Graph's", []string{"Mail.Read"}, "Mail.Read", "https://graph.microsoft.com", nil, ""},
		{"short and long of one audience", []string{"Mail.Read", "https://graph.microsoft.com/User.Read"}, "Mail.Read https://graph.microsoft.com/User.Read", "https://graph.microsoft.com", nil, ""},
		{"reserved are dropped", []string{"openid", "offline_access", "Mail.Read", "Profile", "email", "Mail.Read"}, "Mail.Read", "https://graph.microsoft.com", nil, ""},
		{"application ID URI", []string{"api://6666/Data.Read"}, "api://6666/Data.Read", "api://6666", nil, ""},
		{"audience with a trailing slash", []string{"https://outlook.office365.com//.default"}, "https://outlook.office365.com//.default", "https://outlook.office365.com", nil, ""},
		{"none", nil, "", "", token.ErrNoScopes, ""},
		{"an empty entry", []string{""}, "", "", token.ErrNoScopes, ""},
		{"reserved only", []string{"openid", "offline_access"}, "", "", token.ErrOnlyReserved, ""},
		{"two audiences", []string{"https://graph.microsoft.com/Mail.Read", "https://outlook.office365.com/EWS.AccessAsUser.All"}, "", "", token.ErrTwoAudiences, ""},
		{"a space inside", []string{"Mail.Read User.Read"}, "", "", nil, "one scope per list entry"},
		{"a quote inside", []string{`Mail"Read`}, "", "", nil, "no scope may hold"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := token.ParseScopes(tt.in)
			if tt.err != nil || tt.text != "" {
				if err == nil || !errors.Is(err, tt.err) && tt.err != nil || !strings.Contains(err.Error(), tt.text) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil || got.String() != tt.want || got.Audience() != tt.audience {
				t.Errorf("= %q of %q, %v", got, got.Audience(), err)
			}
		})
	}
}

func TestScopesHost(t *testing.T) {
	for in, want := range map[string]string{
		"https://outlook.office365.com/EWS.AccessAsUser.All": "outlook.office365.com",
		"api://6666/Data.Read":                               "6666",
	} {
		if got := (token.Scopes{in}).Host(); got != want {
			t.Errorf("Host(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParseScopes(f *testing.F) {
	f.Add("https://graph.microsoft.com/.default", "openid")
	f.Add("/", "://")
	f.Fuzz(func(t *testing.T, a, b string) {
		s, err := token.ParseScopes([]string{a, b})
		if err == nil && (len(s) == 0 || s.Audience() == "" && !strings.HasPrefix(a+b, "/")) {
			t.Errorf("ParseScopes(%q, %q) = %q of audience %q", a, b, s, s.Audience())
		}
	})
}

func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range token.Kinds() {
		code := k.Code()
		if code == "" || seen[code] || strings.ToLower(code) != code {
			t.Errorf("kind %d has the code %q", k, code)
		}
		seen[code] = true
		if a := k.UserAction(); a != "none" && k.Retryable() && k != token.KindSignInPending {
			t.Errorf("%s is retryable, yet %q must act", k, a)
		}
	}
	if token.Kind(999).Code() != "internal" || token.Kind(-1).String() != "internal" {
		t.Error("a foreign kind is internal")
	}
}

func TestAsError(t *testing.T) {
	own := &token.Error{Kind: token.KindDenied}
	tests := []struct {
		name string
		err  error
		want token.Kind
	}{
		{"own", own, token.KindDenied},
		{"wrapped", fmt.Errorf("x: %w", own), token.KindDenied},
		{"deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), token.KindTimeout},
		{"cancelled", context.Canceled, token.KindCancelled},
		{"foreign", errors.New("boom"), token.KindInternal},
	}
	for _, tt := range tests {
		if got := token.KindOf(tt.err); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if token.AsError(nil) != nil {
		t.Error("nil is no error")
	}
}

func TestErrorForTheLog(t *testing.T) {
	e := &token.Error{
		Kind: token.KindSignInRequired, Op: "redeem", Detail: "Sign in again.", OAuthError: "invalid_grant", SubError: "bad_token",
		AADSTS: 50173, Status: 400, CorrelationID: "c", RequestID: "r", RetryAfter: time.Second, Claims: "CANARY", Err: errors.New("cause"),
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Error("x", "error", e)
	got := out.String() + e.Error()
	for _, want := range []string{"error.kind=sign-in-required", "error.aadsts=50173", "error.suberror=bad_token", "error.cause=cause", "redeem: sign-in-required: Sign in again.: cause"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %s", want, got)
		}
	}
	if strings.Contains(got, "CANARY") {
		t.Error("claims were logged")
	}
	if !errors.Is(e, e.Err) {
		t.Error("Unwrap lost the cause")
	}
}
