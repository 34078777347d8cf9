package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Collectors that do not work, by name.
var brokenCollectors = map[string]func(t *testing.T, released <-chan struct{}) string{
	"nobody listens": func(t *testing.T, _ <-chan struct{}) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		return "http://" + l.Addr().String()
	},
	"hangs": func(t *testing.T, released <-chan struct{}) string {
		srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-released
		}))
		t.Cleanup(srv.Close)
		return srv.URL
	},
	"answers 500": func(t *testing.T, _ <-chan struct{}) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no", http.StatusInternalServerError)
		}))
		t.Cleanup(srv.Close)
		return srv.URL
	},
}

// No call may wait for the exporter. The hanging collector answers only after
// all calls are done, with queues a tenth of what is put in: a call that waited
// would never end.
func TestBrokenCollectorSlowsNothing(t *testing.T) {
	for name, collector := range brokenCollectors {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				released := make(chan struct{})
				endpoint := collector(t, released)
				tel := start(t, io.Discard, map[string]string{
					"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
					"OTEL_BSP_MAX_QUEUE_SIZE": "200", "OTEL_BSP_SCHEDULE_DELAY": "1", "OTEL_BLRP_SCHEDULE_DELAY": "1",
					"OTEL_EXPORTER_OTLP_TIMEOUT": "60000",
				})
				handler := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					ctx, call := tel.TokenGet(r.Context(), "crm", opsGraph)
					tel.Logger().InfoContext(ctx, "token")
					call.Done(TokenResult{Key: opsGraph, Source: "cache"})
				}))
				for range 1000 {
					handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/token", nil))
				}
				close(released)
			})
		}
	}
}

func TestShutdownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		tel := &Telemetry{shutdowns: []func(context.Context) error{
			func(context.Context) error { return nil },
			func(context.Context) error { <-hang; return nil }, // obeys no context
		}}
		began := time.Now()
		if err := tel.Shutdown(t.Context()); err == nil {
			t.Error("nothing was sent, and Shutdown says all is well")
		}
		if took := time.Since(began); took != shutdownTimeout {
			t.Errorf("Shutdown took %v", took)
		}
		close(hang)
	})
}

func TestShutdownWithAHangingCollector(t *testing.T) {
	released := make(chan struct{})
	tel := start(t, io.Discard, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": brokenCollectors["hangs"](t, released), "OTEL_EXPORTER_OTLP_TIMEOUT": "60000",
	})
	defer close(released)
	_, call := tel.TokenGet(t.Context(), "crm", opsGraph)
	call.Done(TokenResult{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tel.Shutdown(ctx); err == nil {
		t.Error("nothing was sent, and Shutdown says all is well")
	}
}

func TestExportErrorsAtMostOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := &exportErrors{log: slog.New(slog.NewTextHandler(&log, nil))}
		for range 100 {
			e.Handle(errors.New("connection refused"))
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Fatalf("%d lines, want 1:\n%s", n, log.String())
		}
		time.Sleep(errorInterval)
		e.Error(errors.New(strings.Repeat("x", 1000)), "from the diagnostic log", "headers", "CANARY")
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "not_shown=99") {
			t.Errorf("got:\n%s", log.String())
		}
		if strings.Contains(log.String(), "CANARY") || log.Len() > 1000 {
			t.Errorf("too much is shown:\n%s", log.String())
		}
		e.Handle(nil)
	})
}

func TestWrongVariablesSwitchOffWithAWarning(t *testing.T) {
	tests := map[string]struct {
		env  map[string]string
		want []string
	}{
		"unknown exporter": {map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, []string{"OTEL_TRACES_EXPORTER", "zipkin", "none, otlp, console"}},
		"prometheus":       {map[string]string{"OTEL_METRICS_EXPORTER": "prometheus"}, []string{"/metrics", "admin key"}},
		"protocol": {
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"},
			[]string{`"signal":"TRACES"`, `"signal":"METRICS"`, `"signal":"LOGS"`},
		},
		"resource": {map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "no-value", "OTEL_TRACES_EXPORTER": "console"}, []string{"OTEL_RESOURCE_ATTRIBUTES"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			tel := start(t, &log, tt.env)
			_, call := tel.TokenGet(t.Context(), "crm", opsGraph)
			call.Done(TokenResult{Source: "cache"})
			_ = tel.Shutdown(t.Context())
			for _, want := range tt.want {
				if !strings.Contains(strings.ReplaceAll(log.String(), `\"`, `"`), want) {
					t.Errorf("the log does not say %q:\n%s", want, log.String())
				}
			}
		})
	}
}

func TestSetupRefusesUnknownLogSettings(t *testing.T) {
	for _, cfg := range []Config{{LogLevel: "loud"}, {LogFormat: "xml"}} {
		if _, err := Setup(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestChoose(t *testing.T) {
	tests := []struct {
		env    map[string]string
		signal signal
		want   string
		warned bool
	}{
		{nil, signalTraces, "none", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, signalTraces, "otlp", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, signalLogs, "otlp", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_LOGS_EXPORTER": "none"}, signalLogs, "none", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, signalTraces, "otlp", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, signalMetrics, "none", false},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, signalTraces, "otlp", false},
		{map[string]string{"OTEL_TRACES_EXPORTER": " console "}, signalTraces, "console", false},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp,console"}, signalTraces, "none", true},
		{map[string]string{"OTEL_METRICS_EXPORTER": "prometheus"}, signalMetrics, "none", true},
	}
	for _, tt := range tests {
		got, warning := choose(func(k string) string { return tt.env[k] }, tt.signal)
		if got != tt.want || (warning != "") != tt.warned {
			t.Errorf("%v %s: got %s, warning %q", tt.env, tt.signal, got, warning)
		}
	}
}

func TestForeignTextIsNoSeries(t *testing.T) {
	s := newRequestSeries()
	s.record(seriesKey{"crm", "ops@contoso.com", "cache", outcomeOK}, time.Millisecond)
	s.record(seriesKey{"crm", strings.Repeat("x", 65), "cache", outcomeOK}, time.Hour)
	for i := range 3 * maxSeries {
		s.record(seriesKey{"crm", "r" + strings.Repeat("x", i%60) + string(rune('a'+i%26)), "cache", i % 20}, 0)
	}
	if n := len(*s.byKey.Load()); n > maxSeries+int(token.KindStore)+2 {
		t.Errorf("%d series", n)
	}
	data, _ := s.Produce(t.Context())
	total := int64(0)
	for _, m := range data[0].Metrics {
		if m.Name == MetricTokenRequests {
			total = sum(t, m)
		}
	}
	if total != 3*maxSeries+2 {
		t.Errorf("%d requests were counted, want %d", total, 3*maxSeries+2)
	}
}
