package broker_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/broker"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// manyResources are the built-in ones and some of a tenant's own.
var manyResources = broker.Settings{SignIn: "graph", Resources: map[string]token.Scopes{
	"graph":  {"https://graph.microsoft.com/.default"},
	"read":   {"Mail.Read", "https://graph.microsoft.com/User.Read"},
	"ews":    {"https://outlook.office365.com/EWS.AccessAsUser.All"},
	"imap":   {"https://outlook.office365.com/IMAP.AccessAsUser.All"},
	"all":    {"https://outlook.office365.com/.default"},
	"api":    {"api://Own-App/Data.Read", "api://Own-App/Data.Write"},
	"guid":   {"99999999-8888-7777-6666-555555555555/.default"},
	"double": {"https://management.core.windows.net//.default"},
	"path":   {"https://tenant.example/Team/api/.default"},
}}

func TestResourceOfATextOfADialect(t *testing.T) {
	w := newWorld(t, nil)
	w.Configure(manyResources)
	everything := []string{"graph", "read", "ews", "imap", "all", "api", "guid", "double", "path"}
	some := []string{"graph", "ews", "api", "guid", "double", "path"}
	tests := []struct {
		name  string
		may   []string
		texts []string
		want  string // the resource; empty: the error below
		kind  token.Kind
		says  []string
	}{
		{"name", some, []string{"graph"}, "graph", 0, nil},
		{"audience", some, []string{"https://graph.microsoft.com"}, "graph", 0, nil},
		{"audience with a slash", some, []string{"https://graph.microsoft.com/"}, "graph", 0, nil},
		{"default scope", some, []string{"https://graph.microsoft.com/.default"}, "graph", 0, nil},
		{"default scope with two slashes", some, []string{"https://graph.microsoft.com//.default"}, "graph", 0, nil},
		{"host in any case", some, []string{"HTTPS://Graph.Microsoft.COM/.default"}, "graph", 0, nil},
		{"scope of the set", some, []string{"https://outlook.office365.com/EWS.AccessAsUser.All"}, "ews", 0, nil},
		{"audience of one of those that it may have", some, []string{"https://outlook.office365.com"}, "ews", 0, nil},
		{"audience that ends in a slash", some, []string{"https://management.core.windows.net/"}, "double", 0, nil},
		{"that without the slash", some, []string{"https://management.core.windows.net"}, "double", 0, nil},
		{"that with the scope", some, []string{"https://management.core.windows.net//.default"}, "double", 0, nil},
		{"application ID URI", some, []string{"api://Own-App"}, "api", 0, nil},
		{"its scope", some, []string{"api://Own-App/Data.Write"}, "api", 0, nil},
		{"its scopes", some, []string{"api://Own-App/Data.Write", "api://Own-App/Data.Read"}, "api", 0, nil},
		{"a path", some, []string{"https://TENANT.example/Team/api"}, "path", 0, nil},
		{"client ID", some, []string{"99999999-8888-7777-6666-555555555555"}, "guid", 0, nil},
		{"reserved scopes are not looked at", some, []string{"openid", "https://graph.microsoft.com/.default", "offline_access"}, "graph", 0, nil},
		{"name and scope of it", some, []string{"ews", "https://outlook.office365.com/EWS.AccessAsUser.All"}, "ews", 0, nil},
		{"name and default of it", everything, []string{"ews", "https://outlook.office365.com/.default"}, "ews", 0, nil},
		{"the set of one has the scope itself", everything, []string{"https://outlook.office365.com/.default"}, "all", 0, nil},
		{"short scope of Graph", everything, []string{"Mail.Read"}, "read", 0, nil},
		{"that in full", everything, []string{"https://graph.microsoft.com/Mail.Read"}, "read", 0, nil},
		{"short where the set has it in full", everything, []string{"User.Read"}, "read", 0, nil},
		{"a consumer that may not gets the policy's error later", []string{"graph"}, []string{"https://outlook.office365.com"}, "all", 0, nil},

		{"nothing", some, nil, "", token.KindInvalidRequest, []string{"No resource is named"}},
		{"only reserved scopes", some, []string{"openid"}, "", token.KindInvalidRequest, []string{"No resource is named"}},
		{"unknown audience", some, []string{"https://vault.azure.net"}, "", token.KindUnknownResource, []string{`"https://vault.azure.net"`, "graph (https://graph.microsoft.com)"}},
		{"unknown audience for one that may nothing", nil, []string{"https://vault.azure.net"}, "", token.KindUnknownResource, []string{"may use none"}},
		{"scope that is not of the set", some, []string{"https://graph.microsoft.com/Mail.ReadWrite"}, "", token.KindUnknownResource, nil},
		{"scope in another case", some, []string{"https://outlook.office365.com/ews.accessasuser.all"}, "", token.KindUnknownResource, nil},
		{"application ID URI in another case", some, []string{"api://own-app"}, "", token.KindUnknownResource, nil},
		{"path in another case", some, []string{"https://tenant.example/team/api"}, "", token.KindUnknownResource, nil},
		{"http", some, []string{"http://graph.microsoft.com"}, "", token.KindUnknownResource, nil},
		{"a host that begins like it", some, []string{"https://graph.microsoft.com.evil.example"}, "", token.KindUnknownResource, nil},
		{"a port", some, []string{"https://graph.microsoft.com:443"}, "", token.KindUnknownResource, nil},
		{"one of the set and one that is not", some, []string{"api://Own-App/Data.Read", "api://Own-App/Data.All"}, "", token.KindUnknownResource, []string{"No resource has what was asked for"}},
		{"two audiences", some, []string{"https://graph.microsoft.com/.default", "https://outlook.office365.com/.default"}, "", token.KindUnknownResource, nil},
		{"a slash", some, []string{"/"}, "", token.KindUnknownResource, nil},
		{"a long text is not repeated", some, []string{"eyJ" + strings.Repeat("SECRET", 30)}, "", token.KindUnknownResource, nil},
		{"one audience, two resources", []string{"ews", "imap"}, []string{"https://outlook.office365.com"}, "", token.KindInvalidRequest, []string{"ews, imap"}},
		{"the administrator may have all of them", nil, []string{"https://outlook.office365.com"}, "", token.KindInvalidRequest, []string{"all, ews, imap"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := who([]string{"ops"}, tt.may)
			if strings.HasPrefix(tt.name, "the administrator") {
				id = consumer.AdminIdentity()
			}
			got, err := w.Names().Resource(id, tt.texts...)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Fatalf("= %q, %v; want %q", got, err, tt.want)
			}
			if err == nil {
				return
			}
			e := token.AsError(err)
			if e.Kind != tt.kind || strings.Contains(e.Detail, "SECRET") {
				t.Errorf("error %v", e)
			}
			for _, s := range tt.says {
				if !strings.Contains(e.Detail, s) {
					t.Errorf("%q does not say %q", e.Detail, s)
				}
			}
		})
	}
}

const otherClient = "66666666-7777-8888-9999-000000000000"

func TestAccountOfATextOfADialect(t *testing.T) {
	other := token.App{Authority: app.Authority, Tenant: "contoso.example", ClientID: otherClient}
	w := newWorld(t, map[string]account.Alias{
		"ops":     {Username: "ops@x", App: app},
		"ops-ews": {Username: "ops@x", App: other},
		"new":     {Username: "new@x", App: other},
	})
	w.signIn(t, "ops", "ops@x")
	bob := w.signIn(t, "", "bob@x")
	tests := []struct {
		name string
		may  []string
		text string
		want string
		kind token.Kind // where there is an error
	}{
		{"nothing", []string{"ops"}, "", "", 0},
		{"alias", []string{"ops"}, "ops", "ops", 0},
		{"user name", []string{"ops"}, "Ops@X", "ops", 0},
		{"user name of two, the other may be used", []string{"ops-ews"}, "ops@x", "ops-ews", 0},
		{"user name of two, both may be used", []string{"ops-ews", "ops"}, "ops@x", "ops", 0},
		{"user name of two, none may be used", []string{bob}, "ops@x", "ops", 0},
		{"not signed in yet", []string{"later@x"}, "Later@x", "later@x", 0},
		{"app registration", []string{"ops"}, app.ClientID, "ops", 0},
		{"app registration in any case", []string{"ops-ews"}, strings.ToUpper(otherClient), "ops-ews", 0},
		{"app registration of one of two", []string{"ops", "ops-ews"}, otherClient, "ops-ews", 0},
		{"app registration of two", []string{"ops-ews", "new"}, otherClient, "", token.KindInvalidRequest},
		{"app registration of others", []string{"ops"}, otherClient, "", token.KindUnknownAccount},
		{"unknown", []string{"ops"}, "nobody", "", token.KindUnknownAccount},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := w.Names().Account(who(tt.may, []string{"graph"}), tt.text)
			if got != tt.want || (err != nil) != (tt.kind != 0) || err != nil && token.KindOf(err) != tt.kind {
				t.Errorf("= %q, %v; want %q, %v", got, err, tt.want, tt.kind)
			}
		})
	}
	if got, err := w.Names().Account(consumer.AdminIdentity(), otherClient); got != "" || token.KindOf(err) != token.KindInvalidRequest {
		t.Errorf("administrator: %q, %v", got, err)
	}
}

func TestAppOfAnAccount(t *testing.T) {
	w := newWorld(t, map[string]account.Alias{"ops": {Username: "ops@x.example", App: token.App{Tenant: "contoso.example", ClientID: otherClient}}})
	n := w.Names()
	if n.ClientID("ops") != otherClient || n.ClientID("later@x.example") != app.ClientID {
		t.Error("ClientID")
	}
	for tenant, want := range map[string]bool{"contoso.example": true, "CONTOSO.example": true, "X.example": true, "": false, "other": false, app.Tenant: false} {
		if n.InTenant("ops", tenant) != want {
			t.Errorf("InTenant(ops, %q) is not %v", tenant, want)
		}
	}
	if !n.InTenant("later@x.example", app.Tenant) || n.InTenant("later@x.example", "") {
		t.Error("InTenant of an account that nobody knows yet")
	}
}

func FuzzResource(f *testing.F) {
	for _, s := range []string{"graph", "https://graph.microsoft.com/.default", "HTTPS://GRAPH.microsoft.com//", "api://Own-App/Data.Read", "/.default", "https://", "://", "openid", "Mail.Read", "\x00", "https://outlook.office365.com"} {
		f.Add(s, "")
	}
	w := newWorld(f, nil)
	w.Configure(manyResources)
	f.Fuzz(func(t *testing.T, a, b string) {
		id := who([]string{"ops"}, []string{"graph", "ews", "imap"})
		got, err := w.Names().Resource(id, a, b)
		if err != nil {
			if k := token.KindOf(err); k != token.KindUnknownResource && k != token.KindInvalidRequest || got != "" {
				t.Fatalf("%q, %q: %q, %v", a, b, got, err)
			}
			return
		}
		scopes, ok := manyResources.Resources[got]
		if !ok {
			t.Fatalf("%q, %q is %q", a, b, got)
		}
		// Whatever was asked for is of the resource's audience.
		for _, text := range []string{a, b} {
			if text == "" || text == got || token.IsReserved(text) {
				continue
			}
			audience := strings.ToLower(strings.TrimRight(scopes.Audience(), "/"))
			plain := strings.ToLower(strings.TrimRight(strings.TrimSuffix(text, "/.default"), "/"))
			if plain != audience && !slices.ContainsFunc(scopes, func(s string) bool { return strings.HasSuffix(s, text[strings.LastIndexByte(text, '/')+1:]) }) {
				t.Fatalf("%q is not of %s", text, got)
			}
		}
	})
}
