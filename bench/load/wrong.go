package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"
)

// This file sends wrong keys, and looks what that does to a program with a right
// one.

// wrongPlan says how many wrong keys are sent in all, in how many rounds, over
// how many connections, and at most how many a second.
type wrongPlan struct {
	requests, rounds, connections, perSecond int
}

// beside is what goes on while the program with the right key asks.
type beside struct {
	name string
	base *beside // what it is held against; nil: nothing
	// request is sent again and again by the others; nil: nobody asks but the one.
	request   func(address string) []byte
	perSecond int // of all connections together; zero: as fast as they can

	p50, p99 []time.Duration // of the right key, one of every round
	answers  map[int]int     // of the others, by status
	rate     []float64       // of the others
}

const wrongName = "wrong keys"

// pause is what the program with the right key waits after every answer.
const pause = time.Millisecond

// wrongKeys compares the right key's latency alone, beside as many requests that
// need no key, and beside wrong keys; the second shows what the machine does to
// it, and the same once more what the noise is.
func (b *bench) wrongKeys(ctx context.Context, p wrongPlan) ([]*beside, error) {
	v, err := b.broker(ctx, tracing{dir: "wrong", name: "broker"})
	defer v.stop()
	if err != nil {
		return nil, err
	}
	open := func(address string) []byte { return []byte("GET /livez HTTP/1.1\r\nHost: " + address + "\r\n\r\n") }
	wrong := func(address string) []byte {
		return newTarget(address, "brk_"+strings.Repeat("w", 43)).request
	}
	all := []*beside{{name: "nothing"}}
	for _, perSecond := range []int{p.perSecond, 0} {
		probes := &beside{name: "probes (`/livez`), no key", request: open, perSecond: perSecond}
		all = append(all, probes,
			&beside{name: wrongName, base: probes, request: wrong, perSecond: perSecond},
			&beside{name: "the probes again", base: probes, request: open, perSecond: perSecond})
	}
	for range p.rounds {
		for _, s := range all {
			if err := s.round(ctx, v.target, p); err != nil {
				return nil, fmt.Errorf("beside %s: %w", s.name, err)
			}
		}
	}
	return all, nil
}

// round runs one phase: the others send their share, and the right key asks for
// as long as they do; alone for a second, or as long as they would take.
func (s *beside) round(ctx context.Context, right target, p wrongPlan) error {
	share := p.requests / p.rounds / p.connections
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var others sync.WaitGroup
	answers := make([]map[int]int, p.connections)
	errs := make([]error, p.connections)
	began := time.Now()
	if s.request != nil {
		for i := range p.connections {
			others.Go(func() { answers[i], errs[i] = s.flood(ctx, right.address, share, p.connections) })
		}
	} else {
		others.Go(func() {
			select {
			case <-time.After(min(time.Second, time.Duration(share*p.connections)*time.Second/time.Duration(p.perSecond))):
			case <-ctx.Done():
			}
		})
	}
	done := make(chan struct{})
	go func() { others.Wait(); close(done) }()
	taken, err := askUntil(ctx, right, done)
	cancel()
	<-done
	if err := errors.Join(err, errors.Join(errs...)); err != nil {
		return err
	}
	if s.answers == nil {
		s.answers = map[int]int{}
	}
	n := 0
	for _, a := range answers {
		for status, count := range a {
			s.answers[status] += count
			n += count
		}
	}
	s.rate = append(s.rate, float64(n)/time.Since(began).Seconds())
	s.p50, s.p99 = append(s.p50, median(taken)), append(s.p99, quantile(taken, 99, 100))
	return nil
}

// flood sends n requests over one connection, no faster than its part of the rate,
// and counts the answers.
func (s *beside) flood(ctx context.Context, address string, n, connections int) (map[int]int, error) {
	conn, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	r, request, answers, began := bufio.NewReaderSize(conn, 8<<10), s.request(address), map[int]int{}, time.Now()
	for i := range n {
		if s.perSecond > 0 {
			due := began.Add(time.Duration(i) * time.Duration(connections) * time.Second / time.Duration(s.perSecond))
			time.Sleep(time.Until(due))
		}
		if ctx.Err() != nil {
			return answers, ctx.Err()
		}
		if _, err := conn.Write(request); err != nil {
			return answers, err
		}
		status, err := readStatus(r)
		if err != nil {
			return answers, err
		}
		answers[status]++
	}
	return answers, nil
}

// askUntil asks with the right key until done, and gives the time of every answer.
func askUntil(ctx context.Context, t target, done <-chan struct{}) ([]time.Duration, error) {
	conn, err := dial(ctx, t.address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	r := bufio.NewReaderSize(conn, 8<<10)
	var taken []time.Duration
	for {
		began := time.Now()
		if _, err := conn.Write(t.request); err != nil {
			return nil, err
		}
		if err := readAnswer(r); err != nil {
			return nil, err
		}
		taken = append(taken, time.Since(began))
		select {
		case <-done:
			return taken, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(time.Minute))
}

// reportWrong prints the table of docs/performance.md. It fails where a wrong key
// was let in, or where they were not limited.
func reportWrong(out io.Writer, p wrongPlan, all []*beside) error {
	_, err := fmt.Fprintf(out, "%s, %d cores, %d rounds, %d requests over %d connections beside, at most %d/s where limited\n\n"+
		"| beside it | requests/s | right key p50 | of alone | of beside probes (middle half of the rounds) | p99 | answers |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |\n",
		runtime.Version(), runtime.NumCPU(), p.rounds, p.requests, p.connections, p.perSecond)
	for _, s := range all {
		ofProbes := ""
		if s.base != nil {
			r := s.over(s.base)
			ofProbes = fmt.Sprintf("**%.2f** (%.2f to %.2f)", median(r), quantile(r, 1, 4), quantile(r, 3, 4))
		}
		var answers []string
		for _, status := range []int{200, 401, 429} {
			if n := s.answers[status]; n > 0 {
				answers = append(answers, fmt.Sprintf("%d × %d", n, status))
			}
		}
		if err == nil {
			_, err = fmt.Fprintf(out, "| %s%s | %.0f | %v | %.2f | %s | %v | %s |\n", s.name, s.speed(), median(s.rate),
				median(s.p50).Round(time.Microsecond), median(s.over(all[0])), ofProbes, median(s.p99).Round(10*time.Microsecond), strings.Join(answers, ", "))
		}
		if s.name == wrongName && (s.answers[200] > 0 || s.perSecond > 0 && s.answers[401] == 0 || s.answers[429] == 0) {
			return fmt.Errorf("beside %s: answers %v, want 401 and 429 only", s.name, s.answers)
		}
	}
	return err
}

// speed tells the rows that are sent without a limit.
func (s *beside) speed() string {
	if s.request != nil && s.perSecond == 0 {
		return ", as fast as they can"
	}
	return ""
}

// over are the rounds' ratios of the right key's latency here and there.
func (s *beside) over(base *beside) []float64 {
	ratios := make([]float64, len(s.p50))
	for i := range ratios {
		ratios[i] = float64(s.p50[i]) / float64(base.p50[i])
	}
	return ratios
}

// runWrong is the whole of -wrong-keys.
func runWrong(ctx context.Context, b *bench, p wrongPlan, out io.Writer) error {
	all, err := b.wrongKeys(ctx, p)
	if err != nil {
		return err
	}
	return reportWrong(out, p, all)
}
