package notify

import "testing"

// TestRealEventLog writes one event of each severity. Wine keeps none of them: it
// shows that the calls are right, Windows shows the text.
func TestRealEventLog(t *testing.T) {
	write := eventLogWriter()
	for _, s := range []Severity{Info, Warning, Error} {
		e := event("k1")
		e.ID, e.Severity, e.Text = IDTest, s, "A test of the M365 Token Broker."
		if err := write(e); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}
