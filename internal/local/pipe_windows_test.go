package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

// openPipe opens a pipe with a name of its own. Wine lets the first client connect to
// the instance that only holds the name, where it would wait for ever, so that is
// taken up here.
func openPipe(t *testing.T, sids ...string) net.Listener {
	t.Helper()
	name := fmt.Sprintf(`\\.\pipe\m365-broker-test-%d-%s`, os.Getpid(), t.Name())
	l, err := ListenPipe(name, sids)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if onWine() {
		c, err := winio.DialPipe(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	return l
}

func onWine() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}

// TestPipe: a pipe carries HTTP as TCP does, deadlines and the end of the server
// included.
func TestPipe(t *testing.T) {
	l := openPipe(t, "S-1-5-18")
	if l.Addr().Network() != "pipe" {
		t.Errorf("%s", l.Addr().Network())
	}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write(body)
		}),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return winio.DialPipeContext(ctx, l.Addr().String())
	}}}
	for i := range 6 {
		pr, pw := io.Pipe() // more than the buffers of the pipe hold
		go func() { pw.CloseWithError(fill(pw, 1<<20)) }()
		res, err := client.Post("http://localhost/", "", pr)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, res.Body); err != nil || n != 1<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
		res.Body.Close()
		if i%2 == 1 {
			client.CloseIdleConnections()
		}
	}
	client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after the end: %v", err)
	}
}

func fill(w io.Writer, n int) error {
	_, err := w.Write(make([]byte, n))
	return err
}

// TestPipeTaken: nobody can have the name besides us. Wine lets him.
func TestPipeTaken(t *testing.T) {
	l := openPipe(t)
	switch second, err := ListenPipe(l.Addr().String(), nil); {
	case err == nil && onWine():
		t.Log("Wine gives one name to two listeners")
		second.Close()
	case !errors.Is(err, ErrTaken):
		t.Errorf("a second one: %v", err)
	}
}

func TestPipeFaults(t *testing.T) {
	for name, sids := range map[string][]string{
		`\\.\pipe\m365-broker-test-sid`: {"nobody"},
		`C:\no\such\pipe`:               nil,
	} {
		if l, err := ListenPipe(name, sids); err == nil {
			l.Close()
			t.Errorf("%s with %q was opened", name, sids)
		}
	}
	if _, err := ListenUnix(t.Context(), `C:\s`, ""); !errors.Is(err, ErrNotHere) {
		t.Errorf("a Unix socket: %v", err)
	}
}

// TestDescriptorIsUnderstood: Windows reads the access list as we mean it.
func TestDescriptorIsUnderstood(t *testing.T) {
	sd, err := windows.SecurityDescriptorFromString(descriptor("S-1-5-21-1-2-3-1001", []string{"S-1-5-18", "S-1-5-32-544"}))
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := sd.DACL()
	if err != nil || list.AceCount != 3 {
		t.Errorf("%v, %v", list, err)
	}
	if control, _, err := sd.Control(); err != nil || control&windows.SE_DACL_PROTECTED == 0 {
		t.Errorf("control %x, %v", control, err)
	}
	if owner, _, err := sd.Owner(); err != nil || owner.String() != "S-1-5-21-1-2-3-1001" {
		t.Errorf("owner %v, %v", owner, err)
	}
}
