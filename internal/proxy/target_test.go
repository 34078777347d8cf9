package proxy

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/token"
)

func mustBase(t testing.TB, resource, raw string) base {
	t.Helper()
	b, err := parseBase(resource, raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// behind is the URL that Forward gets for a path that was sent like this.
func behind(t testing.TB, target string) *url.URL {
	t.Helper()
	raw, query, _ := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		t.Skip("the API refuses this")
	}
	return &url.URL{Path: decoded, RawPath: raw, RawQuery: query}
}

func TestTarget(t *testing.T) {
	root, below := mustBase(t, "graph", "https://Graph.Example.com"), mustBase(t, "crm", "https://crm.example.com:8443/api/v1/")
	for _, c := range []struct {
		base     base
		in, want string // want "": refused
	}{
		{root, "", "https://graph.example.com"},
		{root, "/", "https://graph.example.com/"},
		{root, "/v1.0/me?$select=id&$filter=a%20eq%20'b'", "https://graph.example.com/v1.0/me?$select=id&$filter=a%20eq%20'b'"},
		{root, "/v1.0/me/messages/AAMk%2FA%3D%3D/x", "https://graph.example.com/v1.0/me/messages/AAMk%2FA%3D%3D/x"},
		{root, "/drive/root:/a%20b/.config/c+d.txt:/content", "https://graph.example.com/drive/root:/a%20b/.config/c+d.txt:/content"},
		{root, "/users('ops@contoso.com')/x", "https://graph.example.com/users('ops@contoso.com')/x"},
		{root, "/a%2fb|c", "https://graph.example.com/a%2fb%7Cc"},
		{root, "/\xc3\xbc%C3%BC", "https://graph.example.com/%C3%BC%C3%BC"},
		{root, "/100%25", "https://graph.example.com/100%25"},
		{root, "/a?b#c", "https://graph.example.com/a?b%23c"},
		{root, "/a?b c", "https://graph.example.com/a?b%20c"},
		{root, "/a?b\r\nHost: evil", ""},
		{root, "/...", "https://graph.example.com/..."},
		{root, "/a..b/..c", "https://graph.example.com/a..b/..c"},
		{below, "", "https://crm.example.com:8443/api/v1"},
		{below, "/x", "https://crm.example.com:8443/api/v1/x"},
		{below, "/http://evil.example/", "https://crm.example.com:8443/api/v1/http://evil.example/"},
		{below, "/@evil.example/", "https://crm.example.com:8443/api/v1/@evil.example/"},

		{below, "/..", ""},
		{below, "/../x", ""},
		{below, "/x/..", ""},
		{below, "/./x", ""},
		{below, "/%2e%2e/x", ""},
		{below, "/.%2E/x", ""},
		{below, "/..%2fx", ""},
		{below, "/x%2f..%2f..%2fy", ""},
		{below, "/%252e%252e/x", ""},
		{below, "/..%252fx", ""},
		{below, "/%25252e%25252e%25252f", ""},
		{below, "/..;/x", ""},
		{below, "/..;a=b/x", ""},
		{below, "/..%3b/x", ""},
		{below, `/..\x`, ""},
		{below, "/..%5cx", ""},
		{below, "/a%5c..%5cx", ""},
		{below, "/%00", ""},
		{below, "/a%0d%0aHost:%20evil", ""},
		{below, "/a%7f", ""},
		{below, "@evil.example/", ""},
		{below, ".evil.example/", ""},
		{below, ":80/", ""},
	} {
		u, err := c.base.target(behind(t, c.in))
		switch {
		case c.want == "" && (err == nil || token.KindOf(err) != token.KindInvalidRequest):
			t.Errorf("%q leads to %v, %v", c.in, u, err)
		case c.want != "" && err != nil:
			t.Errorf("%q: %v", c.in, err)
		case c.want != "" && u.String() != c.want:
			t.Errorf("%q leads to %s, want %s", c.in, u, c.want)
		}
	}
}

func TestBases(t *testing.T) {
	for _, raw := range []string{"ftp://h", "https://", "https://u:p@h", "https://h?a", "https://h#a", "://"} {
		if _, err := New(Config{Tokens: tokens{}, Transport: http.DefaultTransport, Bases: map[string]string{"x": raw}}); err == nil {
			t.Errorf("%s is taken", raw)
		}
	}
	for raw, want := range map[string]bool{"https://outlook.office365.com": true, "https://partner.outlook.cn/": true, "https://graph.microsoft.com": false} {
		if b := mustBase(t, "mail", raw); b.ews != want {
			t.Errorf("%s: EWS is %t", raw, b.ews)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a Config without anything is taken")
	}
}

// FuzzTarget: whatever path is sent, what arrives at the resource is below the
// base URL, also after the resource has cleaned the path its own way.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/a/b?c=d", "/..%2f", "/%2e%2e/", "/a%2Fb|", "/..;/", "@evil/", `/\..`, "//evil/x", "/%25%32%65%25%32%65/x"} {
		f.Add(s)
	}
	b := mustBase(f, "crm", "https://crm.example.com/api/v1")
	f.Fuzz(func(t *testing.T, target string) {
		u, err := b.target(behind(t, target))
		if err != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil {
			t.Fatalf("%q leads to %s, which is no URL: %v", target, u, err)
		}
		for _, seen := range []string{again.Path, again.EscapedPath()} {
			clean := path.Clean(strings.ReplaceAll(seen, `\`, "/"))
			if again.Host != "crm.example.com" || again.Scheme != "https" || again.User != nil || clean != "/api/v1" && !strings.HasPrefix(clean, "/api/v1/") {
				t.Errorf("%q leads to %s (%s)", target, u, clean)
			}
		}
	})
}
