package consumer

import (
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/token"
)

func TestTheAgentsKey(t *testing.T) {
	admin, agent, crm := NewAdminKey(), NewAgentKey(), NewKey()
	r, err := New(Config{AdminKey: admin, AgentKey: agent})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Replace([]Spec{crmSpec(crm)}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key   token.Secret
		name  string
		agent bool
	}{{agent, "agent", true}, {admin, "admin", false}, {crm, "crm", false}} {
		id, err := r.Authenticate(tt.key.Reveal())
		if err != nil || id.Name != tt.name || id.Agent != tt.agent || id.Admin != (tt.name == "admin") {
			t.Errorf("%s is %+v (%v)", tt.name, id, err)
		}
	}
	id := AgentIdentity()
	if wantKind(t, id.Allows(token.Key{Account: "ops", Resource: "graph"}), token.KindDenied); id.HasTarget("archive") || id.Metrics {
		t.Error("the agent has rights of a consumer")
	}
	for _, v := range r.List() {
		if v.Name == "agent" {
			t.Error("the agent is listed as a consumer")
		}
	}
	e := wantKind(t, r.Replace([]Spec{{Name: "x", Keys: []KeyHash{{SHA256: HashKey(agent)}}}}), token.KindInvalidRequest)
	if !strings.Contains(e.Detail, "same key as the agent") {
		t.Errorf("detail %q", e.Detail)
	}
}

func TestNewRefusesADamagedAgentKey(t *testing.T) {
	for _, key := range []string{"brg_short", NewKey().Reveal(), NewAdminKey().Reveal()} {
		if _, err := New(Config{AdminKey: NewAdminKey(), AgentKey: token.NewSecret(key)}); err == nil {
			t.Errorf("New accepted an agent's key of %d characters", len(key))
		}
	}
}

func TestAllowsTarget(t *testing.T) {
	crm := NewIdentity(Spec{Name: "crm", MAPI: []string{"archive"}})
	for _, tt := range []struct {
		id   *Identity
		name string
		ok   bool
	}{
		{crm, "archive", true},
		{crm, "Archive", false},
		{crm, "other", false},
		{crm, "", false},
		{NewIdentity(Spec{Name: "none"}), "archive", false},
		{AdminIdentity(), "archive", true},
		{AgentIdentity(), "archive", false},
	} {
		err := tt.id.AllowsTarget(tt.name)
		if tt.ok != (err == nil) || tt.id.HasTarget(tt.name) != tt.ok {
			t.Errorf("%s, %q: %v", tt.id.Name, tt.name, err)
		}
		if err != nil && token.KindOf(err) != token.KindNotFound {
			t.Errorf("%s, %q: %v, which tells that the target may exist", tt.id.Name, tt.name, err)
		}
	}
}

// A lease that is the same as a consumer has its targets.
func TestALeaseHasTheTargetsOfItsParent(t *testing.T) {
	r, _, _ := newRegistry(t, nil)
	crm := crmSpec(NewKey())
	crm.MAPI = []string{"archive"}
	if err := r.Replace([]Spec{crm}); err != nil {
		t.Fatal(err)
	}
	key, _, err := r.Add(t.Context(), Spec{SameAs: "crm", Lease: maxLease})
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.Authenticate(key.Reveal())
	if err != nil || !id.HasTarget("archive") || id.HasTarget("other") {
		t.Errorf("%+v, %v", id, err)
	}
}
