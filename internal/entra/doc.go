// Package entra speaks to Microsoft Entra ID: it starts device codes and
// browser sign-ins and redeems refresh tokens. It is the only package that
// imports MSAL.
//
// MSAL builds the requests (scopes, claims, PKCE, the x-client headers that
// Microsoft's support reads) and drives the flows. The answers are read here, in
// the HTTP seam below MSAL, because MSAL's error texts may hold tokens, its
// error values hold the request with the refresh token, and it drops what the
// broker needs: codes, claims, Retry-After (see docs/adr). MSAL is told that a
// request worked, never what was issued, and none of its errors leaves this
// package.
//
// A Client keeps no account and no token between calls; it remembers only the
// discovery documents of its authorities and by which name they know the device
// grant.
package entra
