package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParseClaims(t *testing.T) {
	sized := func(n int) string { return `{"a":"` + strings.Repeat("A", n-len(`{"a":""}`)) + `"}` }
	tests := map[string]struct {
		text, want string
		err        error
	}{
		"compact":      {`{"a":{"b":1}}`, `{"a":{"b":1}}`, nil},
		"spaces":       {" {\n\t\"a\" : [1, 2] } ", `{"a":[1,2]}`, nil},
		"no object":    {"{}", "{}", nil},
		"largest":      {sized(MaxClaims), sized(MaxClaims), nil},
		"too large":    {sized(MaxClaims + 1), "", ErrClaimsSize},
		"empty":        {"", "", ErrClaims},
		"null":         {"null", "", ErrClaims},
		"list":         {"[]", "", ErrClaims},
		"text":         {`"{}"`, "", ErrClaims},
		"two objects":  {"{} {}", "", ErrClaims},
		"cut off":      {`{"a":`, "", ErrClaims},
		"huge number":  {`{"a":1e999}`, "", ErrClaims},
		"no JSON":      {"CANARY", "", ErrClaims},
		"base64 of {}": {"e30", "", ErrClaims},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseClaims(tt.text)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("ParseClaims = %.40q, %v; want %.40q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func FuzzClaims(f *testing.F) {
	f.Add(`{"access_token":{"xms_cc":{"values":["cp1"]}}}`)
	f.Add(`{} {}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, s string) {
		out, err := ParseClaims(s)
		if err != nil {
			return
		}
		var object map[string]any
		if err := json.Unmarshal([]byte(out), &object); err != nil || object == nil || len(out) > MaxClaims {
			t.Errorf("%q gave %q", s, out)
		}
		if again, err := ParseClaims(out); err != nil || again != out {
			t.Errorf("not stable: %q", out)
		}
	})
}

func TestDecodeClaims(t *testing.T) {
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1"}},"x":"ü~?>"}`
	std := base64.StdEncoding.EncodeToString([]byte(claims))
	tests := map[string]struct {
		text, want string
		err        error
	}{
		"JSON":             {" " + claims, claims, nil},
		"base64":           {std, claims, nil},
		"without padding":  {strings.TrimRight(std, "="), claims, nil},
		"base64url":        {base64.URLEncoding.EncodeToString([]byte(claims)), claims, nil},
		"no base64":        {"e30!", "", ErrClaims},
		"base64 of a text": {base64.StdEncoding.EncodeToString([]byte("CANARY")), "", ErrClaims},
		"too large":        {base64.StdEncoding.EncodeToString([]byte(`{"a":"` + strings.Repeat("A", MaxClaims) + `"}`)), "", ErrClaimsSize},
		"empty":            {"", "", ErrClaims},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeClaims(tt.text)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("DecodeClaims = %.40q, %v; want %.40q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}
