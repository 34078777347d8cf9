package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/m365-token-broker/broker/internal/sandbox"
)

// user is the account of the comparison.
const user = "load@contoso.example"

// bench is what both measurements share.
type bench struct {
	dir     string
	program string
	sandbox *sandbox.Sandbox
}

// newBench builds the broker and starts the sandbox that it signs in to.
func newBench(ctx context.Context, dir string) (*bench, error) {
	b := &bench{dir: dir, program: filepath.Join(dir, "broker")}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.program, "github.com/m365-token-broker/broker/cmd/broker")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, err
	}
	s, err := sandbox.Start(ctx, sandbox.Config{Users: []string{user}, Interval: time.Second})
	b.sandbox = s
	return b, err
}

func (b *bench) close() { _ = b.sandbox.Close() }

// variant is one server that is measured.
type variant struct {
	name      string
	server    *process
	broker    *instance // nil: bare echo
	collector *process  // nil: no traces
	target    target
	rounds    []sample
	requests  int // in all, warming up included
}

// compare measures bare echo, as Go runs it and with as much room for the garbage
// collector as the broker gives itself, and the broker with three settings of
// tracing.
func (b *bench) compare(ctx context.Context, p plan) ([]speed, error) {
	all, err := b.variants(ctx)
	defer func() {
		for _, v := range all {
			v.stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	for _, v := range all { // warm up: connections, heap, branch predictors
		if _, err := v.measure(ctx, p.connections, min(p.duration, time.Second)); err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
	}
	for r := range p.rounds {
		for k := range all { // a round begins with another variant each time
			v := all[(r+k)%len(all)]
			s, err := v.measure(ctx, p.connections, p.duration)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.name, err)
			}
			v.rounds = append(v.rounds, s)
		}
	}
	var speeds []speed
	for _, v := range all {
		spans, err := v.spans(ctx)
		if err != nil {
			return nil, err
		}
		speeds = append(speeds, speed{name: v.name, rounds: v.rounds, spans: spans})
	}
	return speeds, nil
}

// measure loads the server for d and adds what it cost the server.
func (v *variant) measure(ctx context.Context, connections int, d time.Duration) (sample, error) {
	before, err := v.server.cpu()
	if err != nil {
		return sample{}, err
	}
	s, err := load(ctx, v.target, connections, d)
	if err != nil {
		return s, err
	}
	after, err := v.server.cpu()
	s.cpu = (after - before) / time.Duration(s.requests)
	v.requests += s.requests
	return s, err
}

func (b *bench) variants(ctx context.Context) ([]*variant, error) {
	var all []*variant
	for _, e := range []struct {
		name string
		env  []string
	}{
		{"bare echo, same body", nil},
		{"bare echo with the broker's room for the collector", []string{"GOGC=800"}},
	} {
		p, err := startSelf(ctx, "echo", e.env...)
		if err != nil {
			return all, err
		}
		all = append(all, &variant{name: e.name, server: p, target: newTarget(p.address, "")})
	}
	for _, t := range []tracing{
		{dir: "off", name: "broker, tracing off"},
		{"sampled", "broker, traces sampled at 1 %", "parentbased_traceidratio", "0.01"},
		{"every", "broker, every span exported", "parentbased_always_on", ""},
	} {
		v, err := b.broker(ctx, t)
		all = append(all, v)
		if err != nil {
			return all, err
		}
	}
	return all, all[2].teach(ctx, all[:2])
}

// tracing is one setting of it; without a sampler it is off.
type tracing struct{ dir, name, sampler, ratio string }

// broker starts a broker that is signed in and has a consumer.
func (b *bench) broker(ctx context.Context, t tracing) (*variant, error) {
	v := &variant{name: t.name}
	var env []string
	if t.sampler != "" {
		c, err := startSelf(ctx, "collector")
		if err != nil {
			return v, err
		}
		v.collector = c
		env = []string{
			"OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none",
			"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + c.address,
			"OTEL_TRACES_SAMPLER=" + t.sampler, "OTEL_TRACES_SAMPLER_ARG=" + t.ratio,
			// So large that none is dropped: the report shows how many came.
			"OTEL_BSP_MAX_QUEUE_SIZE=131072", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=2048", "OTEL_BSP_SCHEDULE_DELAY=200",
		}
	}
	i, err := newInstance(ctx, b.program, filepath.Join(b.dir, t.dir), b.sandbox, env...)
	if err != nil {
		return v, err
	}
	v.broker = i
	if err := i.start(ctx); err != nil {
		return v, err
	}
	v.server = i.process
	if err := i.ready(ctx); err != nil {
		return v, err
	}
	if err := i.signIn(ctx, b.sandbox, user); err != nil {
		return v, err
	}
	key, err := i.consumer(ctx, user)
	v.target = newTarget(i.listen, key)
	return v, err
}

// teach gives the bare echoes the bytes that this broker answers with.
func (v *variant) teach(ctx context.Context, echoes []*variant) error {
	var body []byte
	if err := v.broker.call(ctx, http.MethodGet, "/v1/token?resource=graph", nil, &body); err != nil {
		return err
	}
	for _, echo := range echoes {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+echo.server.address+"/v1/token", bytes.NewReader(body))
		if err != nil {
			return err
		}
		res, err := v.broker.http.Do(req)
		if err != nil {
			return err
		}
		if err := res.Body.Close(); err != nil {
			return err
		}
	}
	return nil
}

// spans stops the broker, which sends what it still holds, and tells how many
// spans arrived for each request.
func (v *variant) spans(ctx context.Context) (float64, error) {
	if v.collector == nil {
		return 0, nil
	}
	v.broker.stop()
	v.broker = nil
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.collector.address+"/", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 100))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseFloat(string(text), 64)
	return n / float64(v.requests), err
}

func (v *variant) stop() {
	if v == nil {
		return
	}
	if v.broker != nil {
		v.broker.stop()
	} else if v.collector == nil { // bare echo; a traced broker has ended in spans
		v.server.stop()
	}
	v.collector.stop()
}
