package entra

import "sync"

// deviceGrant is the grant type of RFC 8628 section 3.4, which Microsoft's
// documentation names too. MSAL sends Entra's older short form, which few other
// providers know; it is what we fall back to.
const (
	deviceGrant     = "urn:ietf:params:oauth:grant-type:device_code"
	msalDeviceGrant = "device_code"
)

// otherName is the other name of the device grant.
func otherName(name string) string {
	if name == deviceGrant {
		return msalDeviceGrant
	}
	return deviceGrant
}

// grantNames remembers by which name each authority host knows the device
// grant, so that one sign-in finds it out and the later ones begin with it. Safe
// for concurrent use.
type grantNames struct {
	mu    sync.Mutex
	known map[string]string // by host
}

// of is the name to begin with.
func (g *grantNames) of(host string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if name, ok := g.known[host]; ok {
		return name
	}
	return deviceGrant
}

// keep notes that host knows the grant by this name.
func (g *grantNames) keep(host, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known[host] = name
}
