// Package signin runs sign-ins: each is a small state machine that outlives the
// request that started it, survives faults of the network on the same code, and
// has succeeded only after its refresh token was stored durably.
package signin
