package desktop

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-ole/go-ole"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop/outlooktest"
)

// playCOM runs a stand-in and waits until it can be reached through COM.
func playCOM(t *testing.T, c outlooktest.COM) *exec.Cmd {
	t.Helper()
	c.Log = filepath.Join(t.TempDir(), "calls.txt")
	command := exec.Command(outlooktest.Install(t, outlooktest.Knobs{COM: &c}))
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if registered(t) {
			return command
		}
	}
	t.Fatal("the stand-in did not register itself in 30 s")
	return nil
}

// registered reports whether the running object table holds an Outlook. Being
// turned away is an answer too.
func registered(t *testing.T) bool {
	t.Helper()
	o := quick()
	_, err := take(context.Background(), o, func(turn *turn) (struct{}, error) {
		found, err := ole.GetActiveObject(&turn.class, ole.IID_IUnknown)
		if err == nil {
			found.Release()
		}
		return struct{}{}, err
	})
	var failed *CallError
	return err == nil || errors.As(err, &failed) && failed.Failure == FailureBusy
}

func quick() *outlook {
	o := newOutlook()
	o.budget = 3 * time.Second
	o.again = 20 * time.Millisecond
	return o
}

func TestView(t *testing.T) {
	playCOM(t, outlooktest.COM{Profile: "Öffice Standard", Mode: 700})
	got := newOutlook().view(t.Context())
	if want := (View{Asked: true, Profile: "Öffice Standard", Mode: 700}); got != want {
		t.Errorf("view is %+v, want %+v", got, want)
	}
}
