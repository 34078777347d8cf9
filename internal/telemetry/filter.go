package telemetry

import (
	"context"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// filterExporter lets only the listed attributes of a span leave the process,
// each cleaned by the redactor, and no events and no status texts: those hold
// error texts and the values of panics. It runs in the batch processor's
// goroutine, never in a request's.
type filterExporter struct {
	sdktrace.SpanExporter
	allowed map[attribute.Key]bool
	red     *redactor
}

func newFilterExporter(next sdktrace.SpanExporter, red *redactor) filterExporter {
	allowed := make(map[attribute.Key]bool, len(attributeNames))
	for _, name := range attributeNames {
		allowed[attribute.Key(name)] = true
	}
	return filterExporter{SpanExporter: next, allowed: allowed, red: red}
}

// ExportSpans implements sdktrace.SpanExporter.
func (f filterExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	clean := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, s := range spans {
		clean[i] = cleanSpan{ReadOnlySpan: s, attributes: f.attributes(s.Attributes())}
	}
	return f.SpanExporter.ExportSpans(ctx, clean)
}

func (f filterExporter) attributes(in []attribute.KeyValue) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(in))
	for _, kv := range in {
		if !f.allowed[kv.Key] {
			continue
		}
		if kv.Value.Type() == attribute.STRING {
			text := kv.Value.AsString()
			if kv.Key == AttrURLFull {
				text = safeURL(text)
			}
			kv.Value = attribute.StringValue(f.red.text(text))
		}
		out = append(out, kv)
	}
	return out
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
func (s cleanSpan) Attributes() []attribute.KeyValue { return s.attributes }

// Events are none.
func (s cleanSpan) Events() []sdktrace.Event { return nil }

// Status is the code without its text.
func (s cleanSpan) Status() sdktrace.Status {
	return sdktrace.Status{Code: s.ReadOnlySpan.Status().Code}
}
