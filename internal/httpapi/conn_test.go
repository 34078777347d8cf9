package httpapi

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/token"
)

// fakePeer is the process at the other end of every connection of a test.
type fakePeer struct {
	image string
	root  peer.Root
	looks *atomic.Int64
}

func (f fakePeer) Process(context.Context) (peer.Process, error) {
	if f.looks != nil {
		f.looks.Add(1)
	}
	if f.image == "" {
		return peer.Process{}, peer.ErrUnknown
	}
	return peer.Process{PID: 7, Image: f.image, User: "1000"}, nil
}
func (fakePeer) Confirm(context.Context) error          { return nil }
func (fakePeer) SHA256(context.Context) (string, error) { return strings.Repeat("a", 64), nil }
func (f fakePeer) DescendsFrom(_ context.Context, r peer.Root) (bool, error) {
	return r == f.root, nil
}

const program = "/opt/crm/sync"

// tie ties crm to a program.
func (s *stack) tie(change func(*consumer.Spec)) {
	s.t.Helper()
	spec := consumer.Spec{
		Name: "crm", Keys: []consumer.KeyHash{{SHA256: consumer.HashKey(token.NewSecret(s.crm))}},
		Accounts: []string{"ops"}, Resources: []string{"graph"}, Executable: program,
	}
	if change != nil {
		change(&spec)
	}
	if err := s.registry.Replace([]consumer.Spec{spec}); err != nil {
		s.t.Fatal(err)
	}
}

// One connection is looked at once, however many requests it carries; what the
// administrator changes holds for the next request all the same.
func TestAConnectionThatStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conns, looks atomic.Int64
		r := start(t, func(c *Config) {
			c.Peer = func(net.Conn) consumer.Peer {
				conns.Add(1)
				return fakePeer{image: program, looks: &looks}
			}
		})
		expect := func(what string, status int, kind string) {
			t.Helper()
			if got := r.get(graph); got.status != status || kind != "" && !strings.Contains(got.body, `"`+kind+`"`) {
				t.Errorf("%s: %+v", what, got)
			}
		}
		expect("untied", 200, "")
		if looks.Load() != 0 {
			t.Error("the process of an untied consumer was looked for")
		}
		r.tie(nil)
		for range 5 {
			expect("the right program", 200, "")
		}
		r.tie(nil) // a reload that changes nothing of it
		expect("after a reload", 200, "")
		if conns.Load() != 1 || looks.Load() != 1 {
			t.Errorf("%d connections were looked at %d times, want one, once", conns.Load(), looks.Load())
		}
		r.tie(func(s *consumer.Spec) { s.Executable = "/opt/crm/other" })
		expect("tied to another program", 403, "wrong-process")
		r.tie(func(s *consumer.Spec) { s.SHA256 = strings.Repeat("b", 64) })
		expect("tied to another file", 403, "wrong-process")
		r.tie(func(s *consumer.Spec) { s.User, s.UserID = "svc", "1001" })
		expect("tied to another account", 403, "wrong-process")
		r.tie(func(s *consumer.Spec) { s.User = "nobody-such" })
		expect("tied to an account that is not there", 403, "wrong-process")
		r.tie(func(s *consumer.Spec) { s.User, s.UserID, s.SHA256 = "svc", "1000", strings.Repeat("a", 64) })
		expect("tied to all that it is", 200, "")
		r.tie(func(s *consumer.Spec) { s.Hours = hoursOf(t, "mon-fri 07:00-19:00") })
		expect("on a Saturday", 403, "denied")
		r.tie(nil)
		expect("at any time", 200, "")
		if conns.Load() != 1 {
			t.Errorf("%d connections", conns.Load())
		}
		if err := r.registry.Remove(t.Context(), "crm"); err != nil {
			t.Fatal(err)
		}
		expect("removed", 401, "unauthenticated")
	})
}

func hoursOf(t testing.TB, text string) config.Hours {
	t.Helper()
	var h config.Hours
	if err := h.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return h
}

// A key that ends, ends for connections that are open too.
func TestRotationHoldsForOpenConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		fresh, _, err := r.registry.Rotate(t.Context(), "crm", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.get(graph); got.status != 200 {
			t.Errorf("the old key within the overlap: %+v", got)
		}
		time.Sleep(time.Minute)
		if got := r.get(graph); got.status != 401 {
			t.Errorf("the old key after it: %+v", got)
		}
		if got := r.get(graph, "X-Broker-Key", fresh.Reveal()); got.status != 200 {
			t.Errorf("the new key: %+v", got)
		}
	})
}

// Who is tied to a process must come over a connection whose process is known.
func TestATiedConsumerWithoutAConnection(t *testing.T) {
	s := newStack(t, func(c *Config) { c.Peer = func(net.Conn) consumer.Peer { return fakePeer{image: program} } })
	s.tokens.set(entry(t, "CANARY"))
	s.tie(nil)
	p := s.problem(s.do(call{path: graph, key: s.crm}), 403, token.KindWrongProcess)
	if strings.Contains(p.Detail, program) {
		t.Errorf("the answer says what the right program is: %s", p.Detail)
	}
	if strings.Contains(s.log.String(), program) {
		t.Error("the log names the right program")
	}
	client := &http.Client{Transport: s.server.Transport()}
	req, _ := http.NewRequest(http.MethodGet, "http://"+testHost+graph, nil)
	req.Header.Set("X-Broker-Key", s.crm)
	res, err := client.Do(req)
	if err != nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("in this process: %+v, %v", res, err)
	}
	if v := s.registry.List()[0]; v.Refusals != 2 || v.LastRefusal == "" {
		t.Errorf("view %+v", v)
	}
}

// A thief of the key cannot use up the rate of the program that it belongs to.
func TestAWrongProcessUsesNoRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := atomic.Pointer[string]{}
		r := start(t, func(c *Config) { c.Peer = func(net.Conn) consumer.Peer { return fakePeer{image: *image.Load()} } })
		r.tie(func(s *consumer.Spec) { s.Rate = config.Rate{Count: 1, Per: time.Hour, Burst: 1} })
		evil, right := "/opt/evil", program
		image.Store(&evil)
		for range 10 {
			if got := r.get(graph); got.status != 403 {
				t.Fatalf("%+v", got)
			}
		}
		r.client.CloseIdleConnections()
		image.Store(&right)
		if got := r.get(graph); got.status != 200 {
			t.Errorf("%+v", got)
		}
		if got := r.get(graph); got.status != 429 || got.retryAfter == "" {
			t.Errorf("%+v", got)
		}
	})
}

// Programs without a key are looked up by their process.
func TestAdmitUnkeyed(t *testing.T) {
	root := peer.Root{PID: 10, Start: 1}
	s := newStack(t)
	reg, err := consumer.New(consumer.Config{AdminKey: consumer.NewAdminKey(), Root: func(int) (peer.Root, error) { return root, nil }})
	if err != nil {
		t.Fatal(err)
	}
	s.server.cfg.Consumers = reg
	s.server.cfg.Peer = func(net.Conn) consumer.Peer { return fakePeer{image: program, root: root} }
	req := func() *http.Request {
		return (&http.Request{}).WithContext(s.server.withPeer(t.Context(), nil))
	}
	if _, err := s.server.admitUnkeyed(req(), true); token.AsError(err).Kind != token.KindUnauthenticated {
		t.Errorf("error %v", err)
	}
	if _, _, err := reg.Add(t.Context(), consumer.Spec{
		Name: "run", Accounts: []string{"ops"}, Resources: []string{"graph"}, Lease: time.Hour, Process: 10,
		Rate: config.Rate{Count: 1, Per: time.Hour, Burst: 1},
	}); err != nil {
		t.Fatal(err)
	}
	if id, err := s.server.admitUnkeyed(req(), false); err != nil || id.Name != "run" {
		t.Errorf("%+v, %v", id, err)
	}
	if id, err := s.server.admitUnkeyed(req(), false); token.AsError(err).Kind != token.KindRateLimited || id == nil {
		t.Errorf("%+v, %v", id, err)
	}
	if _, err := s.server.admitUnkeyed(&http.Request{}, false); token.AsError(err).Kind != token.KindUnauthenticated {
		t.Errorf("without a connection: %v", err)
	}
}
