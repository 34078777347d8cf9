// Command load measures GET /v1/token of the built broker against a bare echo
// handler that answers with the same bytes, and what the broker needs of memory
// and of time to start. docs/performance.md has its figures.
//
//	go run ./bench/load            the full measurement (about three minutes)
//	go run ./bench/load -smoke     a few seconds: it runs, its figures mean nothing
//	go run ./bench/load -wrong-keys    what 100,000 wrong keys do to a right one
//	go run ./bench/load -proxy         what the proxy adds, and its memory
//
// Everything happens in one run on loopback: the servers, the load and the
// receiver of the traces are processes of their own, the variants take short
// turns in many rounds, and what counts is the median of the rounds' ratios, so
// that a machine that is busy or slow spoils all sides alike.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// plan says how much is measured.
type plan struct {
	rounds      int
	duration    time.Duration // of one variant in one round
	connections int
	accounts    int // for the memory of a full broker
	starts      int // for the time to the first token
	wrong       wrongPlan
	onlyWrong   bool
	proxy       proxyPlan
	onlyProxy   bool
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "serve" { // a child process, see process.go
		return serve(ctx, args[1:])
	}
	p, err := parse(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "load-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	b, err := newBench(ctx, dir)
	if err != nil {
		return err
	}
	defer b.close()
	if p.wrong.requests > 0 && !p.onlyProxy {
		if err := runWrong(ctx, b, p.wrong, out); err != nil || p.onlyWrong {
			return err
		}
	}
	if p.proxy.calls > 0 {
		if err := runProxy(ctx, b, p.proxy, out); err != nil || p.onlyProxy {
			return err
		}
	}
	speeds, err := b.compare(ctx, p)
	if err != nil {
		return err
	}
	foot, err := b.footprint(ctx, p)
	if err != nil {
		return err
	}
	return report(out, p, speeds, foot)
}

func parse(args []string) (plan, error) {
	p := plan{rounds: 60, duration: 400 * time.Millisecond, connections: 8, accounts: 1000, starts: 7}
	smoke := plan{rounds: 1, duration: 200 * time.Millisecond, connections: 4, accounts: 5, starts: 1, wrong: wrongPlan{requests: 800, rounds: 1, connections: 4, perSecond: 5000}}
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	isSmoke := fs.Bool("smoke", false, "only see that it runs")
	fs.BoolVar(&p.onlyWrong, "wrong-keys", false, "measure what wrong keys do to a right one, and nothing else")
	fs.BoolVar(&p.onlyProxy, "proxy", false, "measure the proxy, and nothing else")
	fs.IntVar(&p.rounds, "rounds", p.rounds, "rounds")
	fs.DurationVar(&p.duration, "duration", p.duration, "time of one variant in one round")
	fs.IntVar(&p.connections, "connections", p.connections, "connections, each with one request at a time")
	fs.IntVar(&p.accounts, "accounts", p.accounts, "accounts of the full broker, each with three resources")
	if err := fs.Parse(args); err != nil {
		return p, err
	}
	if *isSmoke {
		smoke.onlyWrong, smoke.onlyProxy = p.onlyWrong, p.onlyProxy
		smoke.proxy = proxyPlan{calls: 50, bytes: 32 << 20}
		return smoke, nil
	}
	if p.onlyProxy {
		p.proxy = proxyPlan{calls: 5000, bytes: 1 << 30}
	}
	if p.onlyWrong {
		p.wrong = wrongPlan{requests: 100_000, rounds: 10, connections: 4, perSecond: 5000}
	}
	if p.rounds < 1 || p.rounds > 1000 || p.duration > time.Minute || p.connections < 1 || p.connections > 256 || p.accounts > 10000 {
		return p, errors.New("these limits would take too long")
	}
	return p, nil
}
