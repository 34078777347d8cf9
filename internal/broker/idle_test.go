package broker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/token"
)

// What the schedule may use to keep a sign-in alive.
func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]account.Alias{"absent": {Username: "absent@x", App: app}})
		if idle := w.Idle(); len(idle) > 0 {
			t.Errorf("nobody is signed in: %+v", idle)
		}
		w.signIn(t, "", "bob@x")
		began := time.Now()
		idle := w.Idle()
		if len(idle) != 1 || idle[0].Key != (token.Key{Account: "bob@x", Resource: "graph"}) || !idle[0].UsedOn.Equal(began) {
			t.Fatalf("signed in: %+v", idle)
		}
		if j := idle[0].Jitter; j < -1 || j > 1 || j == 0 {
			t.Errorf("jitter %v", j)
		}
		time.Sleep(time.Hour)
		crm := who([]string{"bob@x"}, []string{"ews"})
		if _, err := ask(w, crm, "", "ews"); err != nil {
			t.Fatal(err)
		}
		if idle := w.Idle(); idle[0].Key.Resource != "ews" || !idle[0].UsedOn.Equal(began.Add(time.Hour)) {
			t.Errorf("asked for: %+v", idle)
		}
		w.entra.fail = &token.Error{Kind: token.KindSignInRequired, SubError: "bad_token"}
		time.Sleep(2 * time.Hour)
		if _, err := ask(w, crm, "", "ews"); err == nil {
			t.Fatal("no error")
		}
		if idle := w.Idle(); len(idle) > 0 {
			t.Errorf("ended: %+v", idle)
		}
	})
}
