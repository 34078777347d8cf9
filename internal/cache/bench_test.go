package cache

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/refresh"
	"github.com/m365-token-broker/broker/internal/token"
)

var discard = slog.New(slog.DiscardHandler)

// filled is a cache with a current token for each of n accounts.
func filled(b *testing.B, n int) (*Cache, []token.Request) {
	b.Helper()
	a := newAuthority()
	a.latency, a.lifetime = 0, 24*time.Hour
	c := New(Config{Source: a, Hold: refresh.Hold})
	keys := make([]token.Key, n)
	for i := range keys {
		keys[i] = token.Key{Account: fmt.Sprintf("user%05d@contoso.example", i), Resource: "graph"}
	}
	c.Declare(keys...)
	reqs := make([]token.Request, n)
	for i, k := range keys {
		reqs[i] = token.Request{Key: k}
		if _, err := c.Token(b.Context(), reqs[i]); err != nil {
			b.Fatal(err)
		}
	}
	return c, reqs
}

// BenchmarkHit is the hot path: one consumer that asks for its token again.
func BenchmarkHit(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("accounts=%d", n), func(b *testing.B) {
			c, reqs := filled(b, n)
			req, ctx := reqs[n/2], b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Token(ctx, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHitSpread asks for all accounts in turn: the memory's speed shows.
func BenchmarkHitSpread(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("accounts=%d", n), func(b *testing.B) {
			c, reqs := filled(b, n)
			ctx := b.Context()
			i := 0
			for b.Loop() {
				if _, err := c.Token(ctx, reqs[i%n]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// BenchmarkHitParallel is the hot path on every core at once.
func BenchmarkHitParallel(b *testing.B) {
	c, reqs := filled(b, 1000)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Token(b.Context(), reqs[500]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkAppendJSON makes the answer's body of a token of realistic size.
func BenchmarkAppendJSON(b *testing.B) {
	c, reqs := filled(b, 1)
	e := c.slot(reqs[0].Key).entry.Load()
	buf := make([]byte, 0, e.JSONSize())
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendJSON(buf[:0], now, true)
	}
}
