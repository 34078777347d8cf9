// Package sandbox is a stand-in for the parts of Microsoft 365 that the broker
// speaks to: an Entra ID look-alike (discovery, device code, authorization code
// with PKCE, token, JWKS and the pages a person sees), a small Microsoft Graph
// and a small Exchange Web Services, all on one TLS listener on loopback, with
// every fault of the real thing on demand. `broker demo`, `broker sandbox`, our
// own tests and the tests of programs that use the broker run against it.
//
// A production configuration can never reach a sandbox by accident, and a
// sandbox can never stand in for the real service:
//
//   - it is another authority, which a configuration must name ("authority"),
//     on a loopback address, which no cloud setting leads to;
//   - its certificate comes from a CA made at start, which a configuration must
//     name too ("ca_file"); the CA's key is thrown away at once, and its name
//     constraints let it vouch for loopback names only, so that even installing
//     it in a system store endangers no other host;
//   - its tenant, application and users exist nowhere else, and its tokens are
//     signed with a key that lives as long as the process.
//
// Everything is in memory and starts in milliseconds. A Sandbox is safe for
// concurrent use. Inside a testing/synctest bubble use New, made in the bubble,
// and Transport: no socket is involved then, so the bubble's clock can move.
package sandbox
