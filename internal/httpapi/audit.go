package httpapi

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// Audit is told what must be known later. Its methods return at once and keep
// nothing of their arguments that is secret.
type Audit interface {
	// Issued is one token that left the broker, or was sent on by the proxy. It is
	// on the hot path.
	Issued(id *consumer.Identity, key token.Key, etag, requestID string)
	// Refused is one request that was refused; id is nil where nobody knows who
	// asked.
	Refused(id *consumer.Identity, kind token.Kind, route, requestID string)
	// Did is one thing that an administrator did: "consumer.added", "consumer.rotated"
	// and "consumer.removed" to a consumer, or "signout", "account.exported" and
	// "account.imported" to an account; "ui.entered" is to nobody.
	Did(id *consumer.Identity, action, subject, requestID string)
}

// issued tells the list of consumers and the audit log of a token that is about
// to be answered with.
func (s *Server) issued(w http.ResponseWriter, id *consumer.Identity, a cache.Answer) {
	id.Served(a.Entry.Key())
	if s.cfg.Audit != nil {
		s.cfg.Audit.Issued(id, a.Entry.Key(), a.Entry.ETag(), requestID(w))
	}
}

// requestID is the name of the request that w answers, without Get, whose
// canonical names cost time.
func requestID(w http.ResponseWriter) string {
	if id := w.Header()[headerRequestID]; len(id) > 0 {
		return id[0]
	}
	return ""
}

// refused tells the audit log of a request that got an error.
func (s *Server) refused(r *http.Request, kind token.Kind, requestID string) {
	if s.cfg.Audit == nil {
		return
	}
	route, ok := r.Context().Value(routeKey{}).(string)
	switch {
	case ok:
	case isProxied(r.RequestURI):
		route = routeMethod(r.Method) + " " + proxyPattern
	case r.Method == http.MethodGet && r.URL.Path == tokenPath:
		route = "GET " + tokenPath
	}
	s.cfg.Audit.Refused(identityOf(r.Context()), kind, route, requestID)
}

// did tells the audit log of something that an administrator did, by the admin key
// or at the broker's page.
func (s *Server) did(c echo.Context, action, subject string) {
	if s.cfg.Audit != nil {
		s.cfg.Audit.Did(identityOf(c.Request().Context()), action, subject, requestID(c.Response()))
	}
}

type routeKey struct{}

// withRoute gives an error's request the route that the audit log knows it by.
func withRoute(ctx context.Context, pattern string) context.Context {
	return context.WithValue(ctx, routeKey{}, pattern)
}

// routeOf is the route that echo has found, as method and pattern; empty where
// there is no such route, as a path is the caller's own text.
func (s *Server) routeOf(c echo.Context) string {
	method, pattern := c.Request().Method, patternOf(c.Path())
	if _, ok := s.routes[pattern][method]; !ok {
		return ""
	}
	return method + " " + pattern
}
