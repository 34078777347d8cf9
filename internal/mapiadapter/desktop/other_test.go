//go:build !windows

package desktop

import (
	"errors"
	"strings"
	"testing"
)

func TestOtherSystems(t *testing.T) {
	_, errNew := New(Config{})
	_, errHere := Here()
	_, errSessions := Sessions(t.Context(), "S-1-5-18")
	for name, err := range map[string]error{
		"New": errNew, "Here": errHere, "Sessions": errSessions,
		"StartInSession": StartInSession(t.Context(), "S-1-5-18", "/bin/true", nil),
	} {
		var refused *Refusal
		if !errors.As(err, &refused) || refused.Reason != RefusedPlatform || !strings.Contains(refused.Detail, "Windows only") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
