package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/broker"
	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/refresh"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
)

// entra redeems like an authority that revokes a refresh token on use.
type entra struct {
	mu     sync.Mutex
	n      int
	live   string // the refresh token that works
	fail   *token.Error
	claims []string
	scopes []string
}

func (e *entra) redeem(_ context.Context, g token.Grant, scopes token.Scopes, claims string) (token.Token, token.Secret, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return token.Token{}, token.Secret{}, e.fail
	}
	if g.RefreshToken.Reveal() != e.live {
		return token.Token{}, token.Secret{}, &token.Error{Kind: token.KindSignInRequired, OAuthError: "invalid_grant", SubError: "bad_token"}
	}
	e.n++
	e.live = fmt.Sprintf("refresh-%d", e.n)
	e.claims, e.scopes = append(e.claims, claims), append(e.scopes, scopes.String())
	now := time.Now()
	return token.Token{
		Access: token.NewSecret(fmt.Sprintf("access-%d", e.n)), Scope: scopes.String(), ObtainedOn: now, ExpiresOn: now.Add(time.Hour),
	}, token.NewSecret(e.live), nil
}

// desk is a sign-in desk that says what it was asked for.
type desk struct {
	asked   signin.Request
	pending map[string]bool
}

func (d *desk) Start(_ context.Context, r signin.Request) (signin.View, bool, error) {
	d.asked = r
	return signin.View{ID: "1", State: signin.StatePending}, true, nil
}

func (d *desk) Pending(name string) (signin.View, bool) {
	return signin.View{Interval: 7 * time.Second}, d.pending[name]
}

// world is a broker with everything real but the authority and the desk.
type world struct {
	*broker.Broker
	entra *entra
	desk  *desk
	store credstore.Store
	woken int
}

var app = token.App{Authority: "https://login.example", Tenant: "t", ClientID: "c"}

func newWorld(t testing.TB, aliases map[string]account.Alias) *world {
	t.Helper()
	w := &world{entra: &entra{live: "initial"}, desk: &desk{pending: map[string]bool{}}, store: credstore.NewMemory()}
	book := account.Open(t.Context(), account.Config{
		Store: w.store, Default: app, Aliases: aliases, Log: slog.New(slog.DiscardHandler), Hash: func(string) string { return "h" },
	})
	problems := broker.NewProblems()
	r := &broker.Redeemer{Book: book, Redeem: w.entra.redeem, Problems: problems}
	w.Broker = broker.New(broker.Config{
		Book: book, Cache: cache.New(cache.Config{Source: r, Hold: refresh.Hold}), SignIns: w.desk, Problems: problems, Wake: func() { w.woken++ },
		Settings: broker.Settings{SignIn: "graph", Resources: map[string]token.Scopes{
			"graph": {"https://graph.microsoft.com/.default"}, "ews": {"https://outlook.office365.com/EWS.AccessAsUser.All"},
		}},
	})
	r.Scopes = w.Scopes
	return w
}

func (w *world) signIn(t *testing.T, wanted, user string) string {
	t.Helper()
	w.entra.live = "initial"
	name, err := w.Keep(t.Context(), wanted, token.Grant{
		App: app, HomeAccountID: "oid-" + user, Username: user, Flow: token.FlowDevice,
		RefreshToken: token.NewSecret("initial"), SignedInOn: time.Now(), ObtainedOn: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func who(accounts, resources []string) *consumer.Identity {
	return consumer.NewIdentity(consumer.Spec{Name: "crm", Accounts: accounts, Resources: resources, Rate: config.Rate{}})
}

func ask(w *world, id *consumer.Identity, acct, resource string) (cache.Answer, *token.Error) {
	ans, err := w.Token(context.Background(), id, token.Request{Key: token.Key{Account: acct, Resource: resource}})
	return ans, token.AsError(err)
}

func TestWhoMayHaveWhat(t *testing.T) {
	aliases := map[string]account.Alias{"ops": {Username: "ops@x", App: app}}
	both := []string{"graph", "ews"}
	tests := []struct {
		name              string
		id                *consumer.Identity
		account, resource string
		want              string // code, or the account served
	}{
		{"by alias", who([]string{"ops"}, both), "ops", "graph", "=ops"},
		{"by user name", who([]string{"ops"}, both), "OPS@x", "ews", "=ops"},
		{"its only account", who([]string{"ops"}, both), "", "graph", "=ops"},
		{"another's account", who([]string{"ops"}, both), "bob@x", "graph", "denied"},
		{"a resource beyond its policy", who([]string{"ops"}, []string{"graph"}), "", "ews", "denied"},
		{"an account nobody knows", who([]string{"ops"}, both), "eve@x", "graph", "unknown-account"},
		{"in its policy, never signed in", who([]string{"new@x"}, both), "", "graph", "sign-in-required"},
		{"in its policy, never signed in, by name", who([]string{"new@x"}, both), "NEW@x", "graph", "sign-in-required"},
		{"two accounts, none named", who([]string{"ops", "bob@x"}, both), "", "graph", "invalid-request"},
		{"no account at all", who(nil, both), "", "graph", "denied"},
		{"no rights at all", who(nil, nil), "", "graph", "denied"},
		{"no resource", who([]string{"ops"}, both), "", "", "invalid-request"},
		{"a resource nobody knows", who([]string{"ops"}, both), "", "teams", "unknown-resource"},
		{"a scope instead of a resource", who([]string{"ops"}, both), "", "https://graph.microsoft.com/.default", "unknown-resource"},
		{"the administrator", consumer.AdminIdentity(), "bob@x", "ews", "=bob@x"},
		{"the administrator, none named", consumer.AdminIdentity(), "", "graph", "invalid-request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, aliases)
			w.signIn(t, "ops", "ops@x")
			w.signIn(t, "", "bob@x")
			ans, err := ask(w, tt.id, tt.account, tt.resource)
			switch {
			case strings.HasPrefix(tt.want, "="):
				if err != nil || ans.Entry.Key() != (token.Key{Account: tt.want[1:], Resource: tt.resource}) {
					t.Errorf("got %+v, %v", ans, err)
				}
			case err == nil || err.Kind.Code() != tt.want || err.Detail == "":
				t.Errorf("got %v, want %s with a sentence", err, tt.want)
			}
		})
	}
}

func TestUnknownResourceNamesOnlyWhatTheConsumerMayHave(t *testing.T) {
	w := newWorld(t, nil)
	_, err := ask(w, who(nil, []string{"graph"}), "", "teams")
	if !strings.Contains(err.Detail, "graph") || strings.Contains(err.Detail, "ews") {
		t.Errorf("detail: %s", err.Detail)
	}
}

// For an Outlook target no token exists. Who may not use it learns nothing of it.
func TestNoTokenForAnOutlookTarget(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "", "ops@x")
	w.Configure(broker.Settings{
		SignIn: "graph", MAPI: []string{"archive", "graph"},
		Resources: map[string]token.Scopes{"graph": {"https://graph.microsoft.com/.default"}},
	})
	crm := consumer.NewIdentity(consumer.Spec{Name: "crm", Accounts: []string{"ops@x"}, Resources: []string{"graph"}, MAPI: []string{"archive", "graph"}})
	for _, id := range []*consumer.Identity{crm, consumer.AdminIdentity()} {
		_, err := ask(w, id, "", "archive")
		if err == nil || err.Kind != token.KindUnsupported || err.Detail != "No token exists for Extended MAPI; ask POST /v1/mapi/archive/ensure before MAPILogonEx, or use Microsoft Graph." {
			t.Errorf("%s: %v", id.Name, err)
		}
	}
	if _, err := ask(w, who([]string{"ops@x"}, []string{"graph"}), "", "archive"); err == nil || err.Kind != token.KindUnknownResource || strings.Contains(err.Detail, "mapi") {
		t.Errorf("another consumer: %v", err)
	}
	if _, err := ask(w, crm, "", "graph"); err != nil { // a resource goes first
		t.Errorf("the resource of the same name: %v", err)
	}
}

func TestEachRedemptionUsesTheRotatedToken(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "", "a@x")
	id := who([]string{"a@x"}, []string{"graph", "ews"})
	for i, r := range []string{"graph", "ews"} {
		ans, err := ask(w, id, "", r)
		if err != nil || ans.FromCache {
			t.Fatalf("%s: %+v, %v", r, ans, err)
		}
		if got := w.entra.scopes[i]; got != w.Scopes(r).String() {
			t.Errorf("scopes %q", got)
		}
	}
	if ans, err := ask(w, id, "", "graph"); err != nil || !ans.FromCache || w.entra.n != 2 {
		t.Errorf("third call: %+v, %v after %d redemptions", ans, err, w.entra.n)
	}
	_, err := w.Token(t.Context(), id, token.Request{Key: token.Key{Resource: "graph"}, Claims: `{"access_token":{}}`})
	if err != nil || w.entra.claims[2] != `{"access_token":{}}` {
		t.Errorf("claims: %v, %v", w.entra.claims, err)
	}
}

func TestSignInHealsAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "", "a@x")
	w.entra.live = "revoked"
	id := who([]string{"a@x"}, []string{"graph"})
	if _, err := ask(w, id, "", "graph"); err == nil || err.Kind != token.KindSignInRequired {
		t.Fatalf("revoked: %v", err)
	}
	v, err := w.Account("A@x")
	if err != nil || v.State != account.StateSignInRequired || len(v.Resources) != 1 || v.Resources[0].Problem == nil {
		t.Errorf("account %+v, %v", v, err)
	}
	if ps := w.Problems(); len(ps) != 1 || ps[0].Key.Resource != "graph" {
		t.Errorf("problems %+v", ps)
	}
	w.desk.pending["a@x"] = true
	if _, err := ask(w, id, "", "graph"); err == nil || err.Kind != token.KindSignInPending || err.RetryAfter != 7*time.Second {
		t.Errorf("while a sign-in runs: %v", err)
	}
	w.desk.pending["a@x"] = false
	w.signIn(t, "a@x", "a@x")
	if _, err := ask(w, id, "", "graph"); err != nil {
		t.Errorf("after the sign-in: %v", err)
	}
	if v, _ := w.Account("a@x"); v.State != account.StateOK || v.Resources[0].Problem != nil {
		t.Errorf("account %+v", v)
	}
	if w.woken != 2 {
		t.Errorf("the schedule was woken %d times", w.woken)
	}
}

func TestSignOut(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "", "a@x")
	id := who([]string{"a@x"}, []string{"graph"})
	if _, err := ask(w, id, "", "graph"); err != nil {
		t.Fatal(err)
	}
	if err := w.SignOut(t.Context(), "A@X"); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(w, id, "", "graph"); err == nil || err.Kind != token.KindSignInRequired {
		t.Errorf("after the sign-out: %v", err)
	}
	if ids, _ := w.store.List(t.Context()); len(ids) != 0 {
		t.Errorf("the store still holds %v", ids)
	}
	if err := w.SignOut(t.Context(), "a@x"); token.KindOf(err) != token.KindUnknownAccount {
		t.Errorf("again: %v", err)
	}
}

func TestStartSignIn(t *testing.T) {
	own := token.App{Authority: "https://login.example", Tenant: "t", ClientID: "own"}
	w := newWorld(t, map[string]account.Alias{"ops": {Username: "ops@x", App: own}})
	tests := []struct {
		name, account, resource string
		want                    signin.Request
		kind                    string
	}{
		{"anybody", "", "", signin.Request{App: app, Flow: token.FlowDevice, Scopes: w.Scopes("graph")}, ""},
		{"alias", "ops", "ews", signin.Request{Account: "ops", App: own, Flow: token.FlowDevice, LoginHint: "ops@x", Scopes: w.Scopes("ews")}, ""},
		{"user of an alias", "OPS@x", "", signin.Request{Account: "ops", App: own, Flow: token.FlowDevice, LoginHint: "ops@x", Scopes: w.Scopes("graph")}, ""},
		{"a new user", "New@x", "", signin.Request{Account: "new@x", App: app, Flow: token.FlowDevice, LoginHint: "new@x", Scopes: w.Scopes("graph")}, ""},
		{"no such resource", "", "teams", signin.Request{}, "unknown-resource"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.desk.asked = signin.Request{}
			_, _, err := w.StartSignIn(t.Context(), tt.account, "", tt.resource)
			if tt.kind != "" {
				if token.KindOf(err).Code() != tt.kind {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || fmt.Sprint(w.desk.asked) != fmt.Sprint(tt.want) {
				t.Errorf("asked %+v, %v; want %+v", w.desk.asked, err, tt.want)
			}
		})
	}
}

func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.signIn(t, "", "a@x")
		id := who([]string{"a@x"}, []string{"graph"})
		req := token.Request{Key: token.Key{Resource: "graph"}}
		first, err := w.Changed(t.Context(), id, req, "")
		if err != nil {
			t.Fatal(err)
		}
		changed := make(chan string, 1)
		go func() {
			ans, err := w.Changed(t.Context(), id, req, first.Entry.ETag())
			if err != nil {
				t.Error(err)
				changed <- ""
				return
			}
			changed <- ans.Entry.ETag()
		}()
		synctest.Wait()
		req.Force = true
		next, err := w.Token(t.Context(), id, req)
		if err != nil {
			t.Fatal(err)
		}
		if got := <-changed; got != next.Entry.ETag() {
			t.Errorf("changed to %q, want %q", got, next.Entry.ETag())
		}
		if _, err := w.Changed(t.Context(), who([]string{"a@x"}, nil), req, ""); token.KindOf(err) != token.KindDenied {
			t.Errorf("beyond the policy: %v", err)
		}
	})
}

func TestReconfigure(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "", "a@x")
	w.Configure(broker.Settings{SignIn: "crm", Resources: map[string]token.Scopes{"crm": {"api://crm/.default"}}})
	if _, err := ask(w, who([]string{"a@x"}, []string{"graph"}), "", "graph"); err == nil || err.Kind != token.KindUnknownResource {
		t.Errorf("a resource that was taken away: %v", err)
	}
	if _, err := ask(w, who([]string{"a@x"}, []string{"crm"}), "", "crm"); err != nil {
		t.Errorf("a new resource: %v", err)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "", "a@x")
	w.entra.fail = &token.Error{Kind: token.KindPolicyBlocked}
	for i := range 30 {
		r := fmt.Sprintf("r%02d", i)
		w.Configure(broker.Settings{Resources: map[string]token.Scopes{r: {"api://x/.default"}}})
		_, _ = ask(w, consumer.AdminIdentity(), "", r)
	}
	ps := w.Problems()
	if len(ps) != 20 || ps[0].Key.Resource != "r29" || ps[19].Key.Resource != "r10" {
		t.Errorf("%d problems, %v", len(ps), ps)
	}
}

func TestNarrowedScopesDropTheToken(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "", "a@x")
	id := who([]string{"a@x"}, []string{"graph", "ews"})
	for _, r := range []string{"graph", "ews"} {
		if _, err := ask(w, id, "", r); err != nil {
			t.Fatal(err)
		}
	}
	w.Configure(broker.Settings{Resources: map[string]token.Scopes{"graph": {"User.Read"}, "ews": w.Scopes("ews")}})
	ans, err := ask(w, id, "", "graph")
	if err != nil || ans.FromCache || ans.Entry.Token().Scope != "User.Read" {
		t.Errorf("graph: %+v, %v", ans, err)
	}
	if ans, err := ask(w, id, "", "ews"); err != nil || !ans.FromCache {
		t.Errorf("ews did not change: %+v, %v", ans, err)
	}
}

func TestForgetDropsWhatAnotherPersonLeft(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "", "a@x")
	id := who([]string{"a@x"}, []string{"graph"})
	if _, err := ask(w, id, "", "graph"); err != nil {
		t.Fatal(err)
	}
	w.Forget([]string{"a@x"})
	if ans, err := ask(w, id, "", "graph"); err != nil || ans.FromCache {
		t.Errorf("served %+v, %v", ans, err)
	}
}

func TestAChallengeThatFailsLeavesTheAccountAlone(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "", "a@x")
	id := who([]string{"a@x"}, []string{"graph"})
	w.entra.fail = &token.Error{Kind: token.KindSignInRequired, Claims: "{}"}
	if _, err := w.Token(t.Context(), id, token.Request{Key: token.Key{Resource: "graph"}, Claims: "{}"}); token.KindOf(err) != token.KindSignInRequired {
		t.Fatalf("challenge: %v", err)
	}
	if v, _ := w.Account("a@x"); v.State != account.StateOK {
		t.Errorf("the account is %s", v.State)
	}
	w.entra.fail = nil
	if _, err := ask(w, id, "", "graph"); err != nil {
		t.Errorf("without claims: %v", err)
	}
}
