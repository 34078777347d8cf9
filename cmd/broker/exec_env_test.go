package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/m365-token-broker/broker/internal/config"
)

const (
	passLoopback = "127.0.0.1,localhost,::1"
	childKey     = "brk_of-the-child"
)

// every is all dialects that exec gives variables for.
func every() config.Dialects {
	return config.Dialects{ManagedIdentity: true, AZD: true, Sidecar: true}
}

// ours are the variables of a child, by name.
func ours() map[string]string {
	return map[string]string{
		"BROKER_URL": "http://127.0.0.1:8477", "BROKER_KEY": childKey,
		"IDENTITY_ENDPOINT": "http://127.0.0.1:8477/msi/token", "IDENTITY_HEADER": childKey,
		"AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
		"AZD_AUTH_ENDPOINT":       "http://127.0.0.1:8477/azd", "AZD_AUTH_KEY": childKey,
		"SIDECAR_URL": "http://127.0.0.1:8477",
		"NO_PROXY":    passLoopback, "no_proxy": passLoopback,
	}
}

func TestChildEnvironment(t *testing.T) {
	for _, c := range []struct {
		name     string
		windows  bool
		dialects config.Dialects
		noClient bool
		caller   []string
		want     map[string]string // beside ours; "" is not there
	}{
		{name: "nothing there", dialects: every()},
		{
			name: "what is the caller's own stays", dialects: every(),
			caller: []string{"PATH=/bin", "BROKER_STATE_DIR=/s", "XBROKER_KEY=1", "AZURE_TENANT_ID=t", "EMPTY=", "AZURE_CLIENT_ID=ops"},
			want:   map[string]string{"PATH": "/bin", "BROKER_STATE_DIR": "/s", "XBROKER_KEY": "1", "AZURE_TENANT_ID": "t", "EMPTY": "", "AZURE_CLIENT_ID": "ops"},
		},
		{
			name: "what would win over ours goes", dialects: every(), noClient: true,
			caller: []string{
				"BROKER_URL=http://old", "BROKER_KEY=old", "BROKER_KEY=older", "IDENTITY_ENDPOINT=http://old", "IDENTITY_HEADER=old",
				"IDENTITY_SERVER_THUMBPRINT=ab", "IMDS_ENDPOINT=http://x", "MSI_ENDPOINT=http://y", "MSI_SECRET=s",
				"AZURE_TOKEN_CREDENTIALS=dev", "AZD_AUTH_ENDPOINT=https://z", "AZD_AUTH_KEY=k", "AZD_AUTH_CERT=c", "SIDECAR_URL=http://s",
				"AZURE_CLIENT_ID=somebody",
			},
		},
		{
			name: "dialects that are off", caller: []string{"IDENTITY_ENDPOINT=http://theirs", "MSI_SECRET=s", "AZURE_CLIENT_ID=x", "AZD_AUTH_CERT=c"},
			want: map[string]string{
				"IDENTITY_ENDPOINT": "http://theirs", "IDENTITY_HEADER": "", "AZURE_TOKEN_CREDENTIALS": "", "MSI_SECRET": "s", "AZURE_CLIENT_ID": "x",
				"AZD_AUTH_ENDPOINT": "", "AZD_AUTH_KEY": "", "AZD_AUTH_CERT": "c", "SIDECAR_URL": "",
			},
		},
		{
			name: "case counts on Linux", dialects: every(), caller: []string{"broker_key=theirs", "msi_secret=theirs"},
			want: map[string]string{"broker_key": "theirs", "msi_secret": "theirs"},
		},
		{
			name: "and not on Windows", windows: true, dialects: every(), caller: []string{"Broker_Key=old", "msi_Secret=old", "=C:=C:\\Work", "Path=C:\\"},
			want: map[string]string{"no_proxy": "", "Path": "C:\\", "=C:": "C:\\Work"},
		},
		{
			name: "proxies", dialects: every(), caller: []string{"HTTP_PROXY=http://p:1", "NO_PROXY=.corp, 10.0.0.0/8,"},
			want: map[string]string{"HTTP_PROXY": "http://p:1", "NO_PROXY": ".corp,10.0.0.0/8," + passLoopback, "no_proxy": ".corp,10.0.0.0/8," + passLoopback},
		},
		{
			name: "proxies in lower case", dialects: every(), caller: []string{"no_proxy=localhost,b"},
			want: map[string]string{"NO_PROXY": "localhost,b,127.0.0.1,::1", "no_proxy": "localhost,b,127.0.0.1,::1"},
		},
		{
			name: "proxies in both", dialects: every(), caller: []string{"no_proxy=b", "NO_PROXY=*"},
			want: map[string]string{"NO_PROXY": "*", "no_proxy": "b," + passLoopback},
		},
		{
			name: "proxies on Windows", windows: true, dialects: every(), caller: []string{"No_Proxy=.corp"},
			want: map[string]string{"NO_PROXY": ".corp," + passLoopback, "no_proxy": ""},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := childVariables{base: "http://127.0.0.1:8477", key: childKey, dialects: c.dialects, noClient: c.noClient}
			before := slices.Clone(c.caller)
			got := map[string]string{}
			for _, pair := range v.environment(c.caller, c.windows) {
				name, value, _ := strings.Cut(pair[1:], "=") // Windows has names that begin with "="
				name = pair[:1] + name
				if _, twice := got[name]; twice {
					t.Errorf("%s is there twice", name)
				}
				got[name] = value
			}
			want := ours()
			for name, value := range c.want {
				want[name] = value
				if value == "" && name != "EMPTY" {
					delete(want, name)
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			if !slices.Equal(before, c.caller) {
				t.Error("the caller's own environment was changed")
			}
		})
	}
}
