package peer

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// listenLocal is a Unix socket.
func listenLocal(t testing.TB) net.Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dialLocal(network, address string) (net.Conn, error) { return net.Dial(network, address) }

// playHere are the roles that only Linux has.
func playHere(role, network, address string) error {
	if role == "disguise" {
		return disguise()
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	switch role {
	case "exec": // connects, and becomes another program when it is told to
		f, err := conn.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			return err
		}
		if _, _, e := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_SETFD, 0); e != 0 { // it stays open
			return e
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			return err
		}
		return syscall.Exec("/bin/sleep", []string{"sleep", "60"}, nil)
	case "share": // connects, and starts a program that has the socket too
		f, err := conn.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			return err
		}
		other := exec.Command("/bin/sleep", "60")
		other.ExtraFiles = []*os.File{f}
		if err := other.Start(); err != nil {
			return err
		}
		if _, err := conn.Write([]byte{1}); err != nil {
			return err
		}
		_, _ = conn.Read(make([]byte, 1)) // until the test closes it
		return errors.Join(other.Process.Kill(), ignore(other.Wait()))
	}
	return errors.New("no such role: " + role)
}

func ignore(error) error { return nil }

// TestExec: the process goes on under its ID as another program.
func TestExec(t *testing.T) {
	for name, l := range listeners(t) {
		t.Run(name, func(t *testing.T) {
			start(t, "exec", l)
			c := take(t, l, nil)
			if _, err := c.Process(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.conn.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			for range 1 << 20 {
				if err := c.Confirm(t.Context()); err != nil {
					if !errors.Is(err, ErrUnknown) {
						t.Error(err)
					}
					return
				}
			}
			t.Error("it is still said to be the same program")
		})
	}
}

// TestShared: two programs have one socket, so that nobody can say whose request it is.
func TestShared(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	start(t, "share", l)
	c := take(t, l, nil)
	if _, err := io.ReadFull(c.conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	p, err := c.Process(t.Context())
	if err != nil || p.PID != 0 || p.Image != "" || p.User == "" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := c.SHA256(t.Context()); !errors.Is(err, ErrUnknown) {
		t.Errorf("digest: %v", err)
	}
	if _, err := c.DescendsFrom(t.Context(), Root{PID: 1}); !errors.Is(err, ErrUnknown) {
		t.Errorf("descends: %v", err)
	}
	c.conn.Close()
}

// copied is the test binary under another name.
func copied(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, self, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReplaced: what counts is the file that runs, not what stands under its name
// by now.
func TestReplaced(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	path := copied(t)
	want := hashOf(t, path)
	startProgram(t, path, "dial", l)
	c := take(t, l, nil)
	if err := os.WriteFile(path+".new", []byte("another one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if p, err := c.Process(t.Context()); err != nil || p.Image != path+" (deleted)" {
		t.Errorf("%+v, %v", p, err)
	}
	if sum, err := c.SHA256(t.Context()); err != nil || sum != want {
		t.Errorf("digest %s, %v; want %s", sum, err, want)
	}
}

// TestSeenFromHere: the path of another mount namespace names another file here.
func TestSeenFromHere(t *testing.T) {
	f, err := processOf(os.Getpid())
	if err != nil || f.Image == "" {
		t.Fatalf("%+v, %v", f, err)
	}
	for path, want := range map[string]string{
		f.Image:              f.Image,
		"/bin/sh":            "", // there is such a file, and it is not what runs
		"/no/such":           "",
		"/no/such (deleted)": "/no/such (deleted)",
		" (deleted)":         "",
	} {
		if got := seenFromHere(path, f.file); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// disguise runs in a mount namespace of its own: it covers the directory of the right
// program with that of another one, and runs that under the right one's path.
func disguise() error {
	right, other := os.Getenv("PEER_TEST_RIGHT"), os.Getenv("PEER_TEST_OTHER")
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount(filepath.Dir(other), filepath.Dir(right), "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	if err := os.Setenv("PEER_TEST_ROLE", "dial"); err != nil {
		return err
	}
	return syscall.Exec(right, []string{right}, os.Environ())
}

// TestDisguise: any user can make a mount namespace, in which a program of his has the
// path of any other one. The kernel tells us that path.
func TestDisguise(t *testing.T) {
	right, other := filepath.Join(t.TempDir(), "program"), copied(t)
	if err := os.WriteFile(right, []byte("the one that is trusted"), 0o700); err != nil {
		t.Fatal(err)
	}
	l := listen(t, "127.0.0.1:0")
	child := exec.Command(other)
	child.Env = append(os.Environ(), "PEER_TEST_ROLE=disguise", "PEER_TEST_NETWORK=tcp", "PEER_TEST_ADDRESS="+l.Addr().String(),
		"PEER_TEST_RIGHT="+right, "PEER_TEST_OTHER="+other)
	child.Stderr = os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := child.Start(); err != nil {
		t.Logf("no user namespaces here: %v", err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait(); l.Close() }()
	t.Cleanup(func() { _ = child.Process.Kill(); <-ended })
	conn, err := l.Accept()
	if err != nil {
		t.Log("nothing can be mounted in user namespaces here")
		return
	}
	defer conn.Close()
	c := NewConn(conn, nil)
	told, err := os.Readlink(programLink(child.Process.Pid))
	if err != nil || told != right {
		t.Logf("this kernel tells %q, %v", told, err)
	}
	p, err := c.Process(t.Context())
	if err != nil || p.PID != child.Process.Pid || p.Image != "" {
		t.Errorf("%+v, %v", p, err)
	}
	if sum, err := c.SHA256(t.Context()); err != nil || sum != hashOf(t, other) {
		t.Errorf("digest %s, %v", sum, err)
	}
}

// TestDiagnose holds the kernel's short way against its tables.
func TestDiagnose(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		if strings.HasPrefix(address, "[") && !sixTold(t) {
			continue
		}
		l := listen(t, address)
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		_, local, remote := accept(t, l)
		want := row{local: remote, remote: local}
		short, err := diagnose(want)
		if err != nil {
			t.Logf("this kernel has no sock_diag: %v", err)
			return
		}
		table := "/proc/self/net/tcp"
		if local.Addr().Is6() {
			table += "6"
		}
		text, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		if long, ok := findLinux(string(text), want); !ok || short != long {
			t.Errorf("%s: %+v by sock_diag, %+v in the table", address, short, long)
		}
	}
}

// Both ways to the socket of a connection.
func BenchmarkSocket(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	want := row{local: addrPort(client.LocalAddr()), remote: addrPort(client.RemoteAddr())}
	b.Run("sock_diag", func(b *testing.B) {
		for b.Loop() {
			if _, err := diagnose(want); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("table", func(b *testing.B) {
		for b.Loop() {
			text, err := os.ReadFile("/proc/self/net/tcp")
			if err != nil {
				b.Fatal(err)
			}
			if _, ok := findLinux(string(text), want); !ok {
				b.Fatal("not there")
			}
		}
	})
}
