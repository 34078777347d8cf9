package local

import (
	"errors"
	"net"
	"testing"
)

func TestDescriptor(t *testing.T) {
	const me, crm = "S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1002"
	for _, tt := range []struct {
		others []string
		want   string
	}{
		{nil, "O:" + me + "D:P(A;;GA;;;" + me + ")"},
		{[]string{crm, "s-1-5-21-1-2-3-1001"}, "O:" + me + "D:P(A;;GA;;;" + me + ")(A;;0x12019b;;;" + crm + ")"},
		{[]string{"S-1-5-18", "S-1-5-32-544"}, "O:" + me + "D:P(A;;GA;;;" + me + ")(A;;0x12019b;;;S-1-5-18)(A;;0x12019b;;;S-1-5-32-544)"},
	} {
		if got := descriptor(me, tt.others); got != tt.want {
			t.Errorf("%q: %s", tt.others, got)
		}
	}
}

// failing is a listener whose Accept has this error.
type failing struct {
	net.Listener
	err error
}

func (f failing) Accept() (net.Conn, error) { return nil, f.err }

func TestPatient(t *testing.T) {
	broken := errors.New("broken")
	_, err := patient{failing{err: broken}}.Accept()
	passes, ok := errors.AsType[net.Error](err)
	if !ok || !passes.Temporary() || passes.Timeout() || !errors.Is(err, broken) { //nolint:staticcheck // net/http asks for Temporary
		t.Errorf("%v", err)
	}
	if _, err := (patient{failing{err: net.ErrClosed}}).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the end: %v", err)
	}
}
