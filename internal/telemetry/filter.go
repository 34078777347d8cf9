package telemetry

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// filterExporter lets only the listed attributes of a span leave the process,
// each cleaned by the redactor, and no events and no status texts: those hold
// error texts and the values of panics. It runs in the batch processor's
// goroutine, never in a request's; the SDK makes one call at a time.
type filterExporter struct {
	sdktrace.SpanExporter
	red     *redactor
	allowed map[attribute.Key]cleaned
}

// cleaned remembers what the redactor made of the texts of one attribute. Nearly
// all recur in every request (names, routes, methods), and to search them again
// for secrets is more work than to send them.
type cleaned map[string]attribute.KeyValue

// maxCleaned bounds what is remembered of one attribute.
const maxCleaned = 1024

func newFilterExporter(next sdktrace.SpanExporter, red *redactor) *filterExporter {
	f := &filterExporter{SpanExporter: next, red: red, allowed: make(map[attribute.Key]cleaned, len(attributeNames))}
	for _, name := range attributeNames {
		f.allowed[attribute.Key(name)] = cleaned{}
	}
	return f
}

// ExportSpans implements sdktrace.SpanExporter.
func (f *filterExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	total := 0
	for _, s := range spans {
		total += len(s.Attributes())
	}
	attributes := make([]attribute.KeyValue, 0, total) // of all spans, one after the other
	clean := make([]cleanSpan, len(spans))
	out := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, s := range spans {
		begin := len(attributes)
		attributes = f.appendClean(attributes, s.Attributes())
		clean[i] = cleanSpan{ReadOnlySpan: s, attributes: slices.Clip(attributes[begin:])}
		out[i] = &clean[i]
	}
	return f.SpanExporter.ExportSpans(ctx, out)
}

// appendClean appends what of in may leave the process.
func (f *filterExporter) appendClean(out, in []attribute.KeyValue) []attribute.KeyValue {
	for _, kv := range in {
		known, ok := f.allowed[kv.Key]
		if !ok {
			continue
		}
		if kv.Value.Type() == attribute.STRING {
			kv = f.clean(kv, known)
		}
		out = append(out, kv)
	}
	return out
}

// clean cleans an attribute whose value is a text.
func (f *filterExporter) clean(kv attribute.KeyValue, known cleaned) attribute.KeyValue {
	text := kv.Value.AsString()
	if kv.Key == AttrURLFull { // has a query, which had better not be remembered
		return kv.Key.String(f.red.text(safeURL(text)))
	}
	if as, ok := known[text]; ok {
		return as
	}
	if len(known) >= maxCleaned {
		clear(known)
	}
	as := kv.Key.String(f.red.text(text))
	known[text] = as
	return as
}

// safeURL is scheme, host and path of a URL, without path segments that name a
// mailbox (/users/ops@contoso.com/messages).
func safeURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	segments := strings.Split(u.EscapedPath(), "/")
	for i, s := range segments {
		if strings.Contains(s, "@") || strings.Contains(strings.ToLower(s), "%40") {
			segments[i] = "_"
		}
	}
	return u.Scheme + "://" + u.Host + strings.Join(segments, "/")
}

// cleanSpan is a span as it may be seen outside.
type cleanSpan struct {
	sdktrace.ReadOnlySpan
	attributes []attribute.KeyValue
}

// Attributes are the listed ones.
func (s *cleanSpan) Attributes() []attribute.KeyValue { return s.attributes }

// Events are none.
func (s *cleanSpan) Events() []sdktrace.Event { return nil }

// Status is the code without its text.
func (s *cleanSpan) Status() sdktrace.Status {
	return sdktrace.Status{Code: s.ReadOnlySpan.Status().Code}
}
