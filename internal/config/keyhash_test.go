package config

import (
	"strings"
	"testing"
	"time"
)

func TestKeyHash(t *testing.T) {
	digest := strings.Repeat("a1", 32)
	end := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	tests := []struct {
		in   string
		want KeyHash
		text string // empty: an error
	}{
		{strings.ToUpper(digest), KeyHash{SHA256: digest}, digest},
		{digest + "@2026-11-23T08:00:00Z", KeyHash{SHA256: digest, EndsOn: end}, digest + "@2026-11-23T08:00:00Z"},
		{digest + "@2026-11-23T09:00:00+01:00", KeyHash{SHA256: digest, EndsOn: end}, digest + "@2026-11-23T08:00:00Z"},
		{digest + "@tomorrow", KeyHash{SHA256: digest}, ""},
		{digest + "@", KeyHash{SHA256: digest}, ""},
	}
	for _, tt := range tests {
		got, err := ParseKeyHash(tt.in)
		if got.SHA256 != tt.want.SHA256 || !got.EndsOn.Equal(tt.want.EndsOn) || (err != nil) != (tt.text == "") {
			t.Errorf("ParseKeyHash(%q) = %+v, %v", tt.in, got, err)
		}
		if err == nil && got.String() != tt.text {
			t.Errorf("%q is written as %q, want %q", tt.in, got, tt.text)
		}
	}
}

func TestSavedConsumerKeepsTheEndOfAKey(t *testing.T) {
	l := newHome(t, map[string]string{"broker.yaml": minimal}).load()
	keys := []string{strings.Repeat("a", 64), strings.Repeat("b", 64) + "@2026-11-23T08:00:00Z"}
	if _, err := l.SaveConsumer("crm", Consumer{KeySHA256: keys, Accounts: []string{"ops@contoso.com"}, Resources: []string{"graph"}}); err != nil {
		t.Fatal(err)
	}
	l, err := l.Reload()
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Config.Consumers["crm"].KeySHA256; len(got) != 2 || got[0] != keys[0] || got[1] != keys[1] {
		t.Errorf("read back: %v", got)
	}
}
