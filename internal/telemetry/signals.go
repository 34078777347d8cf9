package telemetry

import (
	"context"
	"fmt"
	"io"
	"strings"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutlog"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// signal is one of OpenTelemetry's three kinds of data.
type signal string

const (
	signalTraces  signal = "TRACES"
	signalMetrics signal = "METRICS"
	signalLogs    signal = "LOGS"
)

// Exporters that a signal may have.
const (
	exporterNone    = "none"
	exporterOTLP    = "otlp"
	exporterConsole = "console"
)

// choose decides which exporter a signal has. The rule:
//
//  1. OTEL_<SIGNAL>_EXPORTER, where it is set: none, otlp or console.
//  2. Else otlp, where OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT or
//     OTEL_EXPORTER_OTLP_ENDPOINT is set.
//  3. Else none.
//
// The specification's default is otlp to localhost:4318 even where nothing is
// set; a program on somebody's desk should not try that for ever. A value that
// is not known switches the signal off with a warning, as the specification
// asks for ("gracefully ignore"): such variables are often set for a whole
// machine and meant for other programs.
func choose(getenv func(string) string, s signal) (exporter string, warning string) {
	name := "OTEL_" + string(s) + "_EXPORTER"
	switch value := strings.TrimSpace(getenv(name)); value {
	case exporterNone, exporterOTLP, exporterConsole:
		return value, ""
	case "":
		if getenv("OTEL_EXPORTER_OTLP_"+string(s)+"_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" {
			return exporterOTLP, ""
		}
		return exporterNone, ""
	case "prometheus":
		// autoexport would open a second port that asks for no key.
		return exporterNone, name + "=prometheus is not needed: GET /metrics of the broker serves the metrics, with the admin key"
	default:
		return exporterNone, fmt.Sprintf("%s=%q is not known; use one of none, otlp, console", name, value)
	}
}

// protocol is the transport of OTLP for a signal; autoexport reads the same
// two variables.
func protocol(getenv func(string) string, s signal) string {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_" + string(s) + "_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if v := getenv(name); v != "" {
			return v
		}
	}
	return "http/protobuf"
}

// Console output goes to the log's writer (standard error), and not to standard
// output as autoexport does: there the commands print tokens and JSON.

func spanExporter(ctx context.Context, exporter string, w io.Writer) (sdktrace.SpanExporter, error) {
	if exporter == exporterConsole {
		return stdouttrace.New(stdouttrace.WithWriter(w))
	}
	return autoexport.NewSpanExporter(ctx)
}

func logExporter(ctx context.Context, exporter string, w io.Writer) (sdklog.Exporter, error) {
	if exporter == exporterConsole {
		return stdoutlog.New(stdoutlog.WithWriter(w))
	}
	return autoexport.NewLogExporter(ctx)
}

// metricExporter does by itself what autoexport would: autoexport gives a ready
// reader, and a reader takes our own request counters only when it is made.
func metricExporter(ctx context.Context, exporter, proto string, w io.Writer) (sdkmetric.Exporter, error) {
	switch {
	case exporter == exporterConsole:
		return stdoutmetric.New(stdoutmetric.WithWriter(w))
	case proto == "grpc":
		return otlpmetricgrpc.New(ctx)
	case proto == "http/protobuf":
		return otlpmetrichttp.New(ctx)
	}
	return nil, fmt.Errorf("OTLP protocol %q is not known; use grpc or http/protobuf", proto)
}
