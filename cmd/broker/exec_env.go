package main

import (
	"runtime"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/config"
)

// The variables that a command is given.
const (
	envURL          = "BROKER_URL"
	envKey          = "BROKER_KEY"
	envMSIEndpoint  = "IDENTITY_ENDPOINT"
	envMSIHeader    = "IDENTITY_HEADER"
	envAzureChain   = "AZURE_TOKEN_CREDENTIALS"
	envAzdEndpoint  = "AZD_AUTH_ENDPOINT"
	envAzdKey       = "AZD_AUTH_KEY"
	envSidecar      = "SIDECAR_URL"
	envNoProxy      = "NO_PROXY"
	envNoProxyLower = "no_proxy"
	envClientID     = "AZURE_CLIENT_ID"
)

// onlyManagedIdentity lets the Azure SDKs' DefaultAzureCredential try nothing
// but the endpoint that we give it.
const onlyManagedIdentity = "ManagedIdentityCredential"

// Variables of the caller's that would win over ours, or change what ours mean.
// The SDKs look for Service Fabric before App Service, and for Azure Arc and
// the protocol of 2017 by these names (MSAL, "managed identity sources"); azd
// takes a certificate as the sign of an https endpoint (azd,
// "external-authentication.md").
var (
	againstMSI = []string{"IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET"}
	againstAzd = []string{"AZD_AUTH_CERT"}
)

// loopback is what no program may send through a proxy: it would get the key.
var loopback = []string{"127.0.0.1", "localhost", "::1"}

// childVariables is what a command's environment is made of.
type childVariables struct {
	base     string // http://127.0.0.1:8477
	key      string
	dialects config.Dialects
	noClient bool // AZURE_CLIENT_ID is not passed on
}

// environment is the caller's environment with our variables in it. foldCase is
// true where the names of variables have no case.
func (v childVariables) environment(environ []string, foldCase bool) []string {
	vars := variables{list: slices.Clone(environ), foldCase: foldCase}
	vars.set(envURL, v.base)
	vars.set(envKey, v.key)
	if v.dialects.ManagedIdentity {
		vars.remove(againstMSI...)
		vars.set(envMSIEndpoint, v.base+"/msi/token")
		vars.set(envMSIHeader, v.key)
		vars.set(envAzureChain, onlyManagedIdentity)
		if v.noClient {
			vars.remove(envClientID)
		}
	}
	if v.dialects.AZD {
		vars.remove(againstAzd...)
		vars.set(envAzdEndpoint, v.base+"/azd")
		vars.set(envAzdKey, v.key)
	}
	if v.dialects.Sidecar {
		vars.set(envSidecar, v.base)
	}
	vars.pastProxies()
	return vars.list
}

// variables is an environment, as os.Environ has it.
type variables struct {
	list     []string
	foldCase bool
}

// namesCase reports whether the names of variables have no case on this system.
func namesCase() (fold bool) { return runtime.GOOS == "windows" }

// is reports whether a pair is of the variable with this name. Windows keeps the
// current directories of drives in variables that begin with "=".
func (v *variables) is(pair, name string) bool {
	if len(pair) <= len(name) || pair[len(name)] != '=' {
		return false
	}
	return pair[:len(name)] == name || (v.foldCase && strings.EqualFold(pair[:len(name)], name))
}

func (v *variables) get(name string) (value string, found bool) {
	for _, pair := range v.list { // the first one counts, as in getenv(3)
		if v.is(pair, name) {
			return pair[len(name)+1:], true
		}
	}
	return "", false
}

func (v *variables) remove(names ...string) {
	v.list = slices.DeleteFunc(v.list, func(pair string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return v.is(pair, name) })
	})
}

// set gives a variable its only value.
func (v *variables) set(name, value string) {
	v.remove(name)
	v.list = append(v.list, name+"="+value)
}

// pastProxies adds loopback to what goes past the proxies. Programs read one
// spelling of the name before the other, in both orders; so where only one is
// set, both become what it says.
func (v *variables) pastProxies() {
	upper, hasUpper := v.get(envNoProxy)
	lower, hasLower := v.get(envNoProxyLower)
	switch {
	case v.foldCase: // one variable; get has found it under both names
	case !hasUpper:
		upper = lower
	case !hasLower:
		lower = upper
	}
	v.set(envNoProxy, withLoopback(upper))
	if !v.foldCase {
		v.set(envNoProxyLower, withLoopback(lower))
	}
}

// withLoopback extends a list as NO_PROXY has it. A "*" is all there is to say,
// and means everything only where it stands alone (curl(1)).
func withLoopback(list string) string {
	var all []string
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one != "" {
			all = append(all, one)
		}
	}
	if slices.Contains(all, "*") {
		return "*"
	}
	for _, one := range loopback {
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return strings.Join(all, ",")
}
