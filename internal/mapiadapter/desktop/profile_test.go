package desktop

import (
	"strings"
	"testing"
)

func TestCheckProfile(t *testing.T) {
	known := []string{"Outlook", "Robot 1", "Büro", strings.Repeat("x", 64), strings.Repeat("x", 65), "/safe", "-x", `a"b`, "a\nb", `a\b`, "a\u202eb", "a\xffb"}
	for name, want := range map[string]bool{
		"Outlook": true, "outlook": true, "Robot 1": true, "Büro": true, strings.Repeat("x", 64): true,
		"": false, "Nobody": false, strings.Repeat("x", 65): false, "/safe": false, "-x": false, `a"b`: false,
		"a\nb": false, `a\b`: false, "a\u202eb": false, "a\xffb": false, " Robot 1": false,
	} {
		refused := checkProfile(name, known)
		if (refused == nil) != want {
			t.Errorf("checkProfile(%q) = %v", name, refused)
		}
		if refused != nil && (refused.Reason != RefusedNoProfile || refused.Detail == "" || name != "" && strings.Contains(refused.Detail, name)) {
			t.Errorf("checkProfile(%q) refuses with %q: %q", name, refused.Reason, refused.Detail)
		}
	}
}

func TestCommandLine(t *testing.T) {
	got := commandLine(`C:\Program Files\Office16\OUTLOOK.EXE`, Arguments("Robot 1"))
	if want := `"C:\Program Files\Office16\OUTLOOK.EXE" /recycle /profile "Robot 1"`; got != want {
		t.Errorf("commandLine = %s, want %s", got, want)
	}
}

func TestEnvironmentWithoutOurs(t *testing.T) {
	got := strings.Join(withoutOurs([]string{`=C:=C:\x`, "BROKER_KEY=secret", "broker_url=x", "OTEL_EXPORTER_OTLP_HEADERS=secret", "Path=x", "MYBROKER_KEY=y"}), "|")
	if want := `=C:=C:\x|Path=x|MYBROKER_KEY=y`; got != want {
		t.Errorf("withoutOurs = %s, want %s", got, want)
	}
}
