package peer

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestMain makes the test binary the programs that the tests start; see play.
func TestMain(m *testing.M) {
	if role, ok := os.LookupEnv("PEER_TEST_ROLE"); ok {
		if err := play(role, os.Getenv("PEER_TEST_NETWORK"), os.Getenv("PEER_TEST_ADDRESS")); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func accept(t *testing.T, l net.Listener) (net.Conn, netip.AddrPort, netip.AddrPort) {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, tcpEnd(t, conn.LocalAddr()), tcpEnd(t, conn.RemoteAddr())
}

func tcpEnd(t *testing.T, a net.Addr) netip.AddrPort {
	t.Helper()
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		t.Fatalf("%T", a)
	}
	return tcp.AddrPort()
}

// isUs holds p against this process: its user by the standard library, the image
// by the file itself, as paths of one file may be written in two ways.
func isUs(t *testing.T, p Process) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mine, err := os.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	if image, err := os.Stat(p.Image); err != nil || !os.SameFile(mine, image) || !filepath.IsAbs(p.Image) {
		t.Errorf("image %q, want %q", p.Image, self)
	}
	if u, err := user.Current(); err != nil || p.User != u.Uid {
		t.Errorf("user %q, want %v", p.User, u)
	}
}

// known is where the system tells; on others Of says ErrUnknown.
func known() bool { return runtime.GOOS == "linux" || runtime.GOOS == "windows" }

// TestOwnConnection: who connected to us is this process. The way round, from
// the client, is asked too; Wine does not know the owner of an accepted socket.
func TestOwnConnection(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "127.9.8.7:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			if strings.HasPrefix(address, "[") && !sixTold(t) {
				return
			}
			l := listen(t, address)
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_, local, remote := accept(t, l)
			switch p, err := Of(t.Context(), local, remote); {
			case !known():
				if !errors.Is(err, ErrUnknown) {
					t.Error(err)
				}
			case err != nil || p.PID != os.Getpid():
				t.Errorf("%+v, %v; we are %d", p, err, os.Getpid())
			default:
				isUs(t, p)
			}
			if p, err := Of(t.Context(), remote, local); err == nil {
				isUs(t, p)
			} else if !errors.Is(err, ErrUnknown) || runtime.GOOS == "linux" {
				t.Errorf("asked by the client: %v", err)
			}
		})
	}
}

// sixTold reports whether this machine has IPv6 and says who owns its sockets.
// Wine 8 does not: the process ID is 0, and Of says that it does not know.
func sixTold(t *testing.T) bool {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Log("no IPv6 here")
		return false
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = Of(t.Context(), tcpEnd(t, l.Addr()), tcpEnd(t, client.LocalAddr()))
	if errors.Is(err, ErrUnknown) && runtime.GOOS == "windows" {
		t.Log("the system does not tell who owns an IPv6 socket")
		return false
	}
	return true
}

// TestOtherProcess: the other end is another program.
func TestOtherProcess(t *testing.T) {
	if !known() {
		return
	}
	l := listen(t, "127.0.0.1:0")
	child := start(t, "dial", l)
	conn, local, remote := accept(t, l)
	p, err := Of(t.Context(), local, remote)
	if err != nil || p.PID != child.Process.Pid {
		t.Errorf("%+v, %v; want process %d", p, err, child.Process.Pid)
	} else {
		isUs(t, p)
	}
	conn.Close()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}

func TestUnknown(t *testing.T) {
	free := listen(t, "127.0.0.1:0").Addr().String()
	for _, ends := range [][2]string{
		{"127.0.0.1:8477", "192.168.1.5:50000"},
		{"192.168.1.5:8477", "127.0.0.1:50000"},
		{"10.0.0.1:1", "10.0.0.1:2"},
		{"127.0.0.1:0", free}, // listens, and has no connection
	} {
		if p, err := Of(t.Context(), netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])); !errors.Is(err, ErrUnknown) {
			t.Errorf("%v: %+v, %v", ends, p, err)
		}
	}
	if _, err := Of(t.Context(), netip.AddrPort{}, netip.AddrPort{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("no addresses: %v", err)
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:1": "127.0.0.1:1", "[::ffff:127.0.0.1]:1": "127.0.0.1:1", "[::1]:1": "[::1]:1", "[::1%lo]:1": "[::1]:1",
	} {
		if got := plain(netip.MustParseAddrPort(in)); got.String() != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
