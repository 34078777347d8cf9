// Package cache publishes the current access tokens and sees to it that there
// is one refresh per account at a time.
//
// Readers load an atomic snapshot: no lock, no I/O. A missing or expired token
// is redeemed once, on a context of its own that outlives the caller who
// started it, while every waiter obeys its own context.
package cache
