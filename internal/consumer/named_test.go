package consumer

import (
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/token"
)

func TestNamed(t *testing.T) {
	r, _, _ := newRegistry(t, nil)
	id, ok := r.Named("crm")
	if !ok || id.Name != "crm" || id.Allows(token.Key{Account: "ops", Resource: "graph"}) != nil {
		t.Errorf("%+v, %v", id, ok)
	}
	for _, name := range []string{"admin", "agent", "nobody", ""} {
		if id, ok := r.Named(name); ok {
			t.Errorf("%q is %+v", name, id)
		}
	}
	before := r.List()[0]
	id.Count(time.Now())
	if after := r.List()[0]; before.Requests != 0 || after.Requests != 1 || after.LastUsed.IsZero() {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestMayKeepFile(t *testing.T) {
	var hours config.Hours
	if err := hours.UnmarshalText([]byte("mon-fri 07:00-19:00")); err != nil {
		t.Fatal(err)
	}
	monday := time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)
	for _, c := range []struct {
		name string
		spec Spec
		now  time.Time
		want string // in the error; "": there is none
	}{
		{"free", Spec{}, monday, ""},
		{"within its hours", Spec{Hours: hours}, monday, ""},
		{"outside", Spec{Hours: hours}, monday.AddDate(0, 0, -1), "at this time"},
		{"tied to a program", Spec{Executable: "/bin/crm"}, monday, "anybody could read the file"},
		{"tied to an account", Spec{Hours: hours, User: "svc"}, monday, "anybody could read the file"},
	} {
		id := NewIdentity(c.spec)
		err := id.MayKeepFile(c.now)
		if (err == nil) != (c.want == "") || (err != nil && (!strings.Contains(err.Error(), c.want) || token.KindOf(err) != token.KindDenied)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if id.usage.refusals.Load() != 0 {
			t.Errorf("%s: it was counted", c.name)
		}
	}
}
