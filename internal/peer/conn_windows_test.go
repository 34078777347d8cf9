package peer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

func playHere(role, _, _ string) error { return errors.New("no such role: " + role) }

// listenLocal is a named pipe. Under Wine the first client gets the instance that
// only holds the name, so that one is taken up here.
func listenLocal(t testing.TB) net.Listener {
	t.Helper()
	name := fmt.Sprintf(`\\.\pipe\m365-peer-test-%d-%s`, os.Getpid(), t.Name())
	l, err := winio.ListenPipe(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil {
		c, err := winio.DialPipe(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	return l
}

func dialLocal(network, address string) (net.Conn, error) {
	if network == "pipe" {
		wait := 10 * time.Second
		return winio.DialPipe(address, &wait)
	}
	return net.Dial(network, address)
}

// TestFileKinds: not all that has a handle is a pipe.
func TestFileKinds(t *testing.T) {
	f, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if p, err := lookPipe(f.Fd()); !errors.Is(err, ErrUnknown) {
		t.Errorf("a file: %+v, %v", p, err)
	}
}
