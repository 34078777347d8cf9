package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/m365-token-broker/broker/internal/entra"
)

// This file asks the OpenTelemetry collectors that the environment names whether
// they are there. What the exporters lose they lose without a word.

// otlpSignals are OpenTelemetry's kinds of data, and their paths (OTLP/HTTP,
// "OTLP/HTTP Request").
var otlpSignals = [...]struct{ name, path string }{{"TRACES", "/v1/traces"}, {"METRICS", "/v1/metrics"}, {"LOGS", "/v1/logs"}}

// collector is where a signal is sent.
type collector struct {
	variable string // that names it
	address  string
	signal   string
	grpc     bool
}

// collectors are those that the environment names and whose signal is on, each
// address once.
func collectors(getenv func(string) string) []collector {
	var all []collector
	for _, s := range otlpSignals {
		c := collector{variable: "OTEL_EXPORTER_OTLP_" + s.name + "_ENDPOINT", signal: s.name}
		own := getenv(c.variable)
		if c.address = own; own == "" {
			c.variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
			c.address = getenv(c.variable)
		}
		exporter := strings.TrimSpace(getenv("OTEL_" + s.name + "_EXPORTER"))
		if c.address == "" || exporter != "" && exporter != "otlp" {
			continue
		}
		proto := getenv("OTEL_EXPORTER_OTLP_" + s.name + "_PROTOCOL")
		if proto == "" {
			proto = getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
		}
		c.grpc = proto == "grpc"
		if own == "" && !c.grpc {
			c.address = strings.TrimRight(c.address, "/") + s.path
		}
		if !slices.ContainsFunc(all, func(o collector) bool { return o.variable == c.variable }) {
			all = append(all, c)
		}
	}
	return all
}

// examineTelemetry asks each collector once.
func (p *parts) examineTelemetry(ctx context.Context, _ wanted) []check {
	if p.getenv("OTEL_SDK_DISABLED") == "true" {
		return skipped("Nothing is sent to a collector (OTEL_SDK_DISABLED=true).", nameTelemetry)
	}
	all := collectors(p.getenv)
	if len(all) == 0 {
		return skipped("No OpenTelemetry collector is named in the environment (OTEL_EXPORTER_OTLP_ENDPOINT).", nameTelemetry)
	}
	ctx, cancel := context.WithTimeout(ctx, examineOne)
	defer cancel()
	checks := make([]check, len(all))
	var wait sync.WaitGroup
	for i, c := range all {
		wait.Go(func() {
			checks[i] = c.look(ctx, p.getenv)
			checks[i].Name = nameTelemetry
		})
	}
	wait.Wait()
	return checks
}

// look asks one collector: over HTTP with an export of nothing, which it must
// take; over gRPC whether somebody is there. Nothing that it answers is shown, nor
// what else the address holds, which may be a password.
func (c collector) look(ctx context.Context, getenv func(string) string) check {
	u, err := url.Parse(c.address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return c.wrong("is not an address that begins with http:// or https://.", "Write "+c.variable+" as http://host:4318.")
	}
	if c.grpc {
		return c.dial(ctx, u)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.address, http.NoBody)
	if err != nil {
		return c.wrong("is not an address.", "Write "+c.variable+" as http://host:4318.")
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_" + c.signal + "_HEADERS"} {
		setHeaders(req.Header, getenv(name))
	}
	way := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSClientConfig: c.tls(getenv)}
	res, err := way.RoundTrip(req)
	if err != nil {
		return c.unreached(u, err)
	}
	_ = res.Body.Close() // its status is all
	return c.answered(u, res.StatusCode)
}

// tls trusts what the exporter trusts.
func (c collector) tls(getenv func(string) string) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_" + c.signal + "_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"} {
		if file := getenv(name); file != "" {
			cfg.RootCAs, _ = roots(file) // the exporter says at the start what is wrong with the file
			break
		}
	}
	return cfg
}

// setHeaders reads key=value,… (OTLP exporter, "Specifying headers").
func setHeaders(h http.Header, list string) {
	for pair := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(pair, "=")
		if plain, err := url.PathUnescape(strings.TrimSpace(value)); ok && err == nil {
			h.Set(strings.TrimSpace(name), plain)
		}
	}
}

func (c collector) dial(ctx context.Context, u *url.URL) check {
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "4317")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return c.unreached(u, err)
	}
	_ = conn.Close()
	return check{Result: resultOK, Text: "Somebody answers at " + c.variable + " (" + address + "), by gRPC."}
}

// answered reads the status of an export of nothing.
func (c collector) answered(u *url.URL, status int) check {
	switch {
	case status < http.StatusMultipleChoices:
		return check{Result: resultOK, Text: "The collector of " + c.variable + " (" + u.Host + ") takes what it is sent."}
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return c.wrong(fmt.Sprintf("names a collector (%s) that refuses the broker (HTTP %d).", u.Host, status), "Give the broker the collector's key in OTEL_EXPORTER_OTLP_HEADERS.")
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return c.wrong(fmt.Sprintf("names something (%s) that is no OTLP collector (HTTP %d).", u.Host, status), "Name the collector's OTLP port, which is 4318 for HTTP, and no path in OTEL_EXPORTER_OTLP_ENDPOINT.")
	default:
		return c.wrong(fmt.Sprintf("names a collector (%s) that has a problem of its own (HTTP %d).", u.Host, status), "See the collector's log.")
	}
}

// unreached says why there is no answer.
func (c collector) unreached(u *url.URL, err error) check {
	opErr, dialled := errors.AsType[*net.OpError](err)
	verify, distrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case distrusted && len(verify.UnverifiedCertificates) > 0:
		return c.wrong(fmt.Sprintf("names a collector (%s) whose certificate, issued by %q, is not trusted.", u.Host, entra.IssuerOf(verify.UnverifiedCertificates[0])), "Name its root certificate in OTEL_EXPORTER_OTLP_CERTIFICATE.")
	case noTLS:
		return c.wrong(fmt.Sprintf("begins with https, and %s speaks no TLS.", u.Host), "Write "+c.variable+" with http:// instead.")
	case dialled && opErr.Op == "dial":
		return c.wrong(fmt.Sprintf("names a collector (%s) that cannot be connected to.", u.Host), "Start the collector, or take "+c.variable+" out of the broker's environment; until then traces, metrics and logs for it are lost.")
	case errors.Is(err, context.DeadlineExceeded):
		return c.wrong(fmt.Sprintf("names a collector (%s) that does not answer in time.", u.Host), "See whether the collector is well; the broker never waits for it.")
	default:
		return c.wrong(fmt.Sprintf("names something (%s) that does not speak OTLP over HTTP.", u.Host), "Where that is the port for gRPC (4317), set OTEL_EXPORTER_OTLP_PROTOCOL=grpc; else name the port for HTTP (4318).")
	}
}

// wrong is a warning: the broker does without.
func (c collector) wrong(what, remedy string) check {
	return check{Result: resultWarning, Text: c.variable + " " + what, Remedy: remedy}
}
