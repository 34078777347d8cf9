package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// serveToken is GET /v1/token, the hot path: no reflection, no router, no
// middleware, and an answer whose bytes are ready (cache.Entry).
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	s.setRoute(r.Context(), "GET "+tokenPath)
	id, err := s.authenticate(r)
	if err == nil {
		err = mayUse(id, anyConsumer)
	}
	if err == nil {
		err = s.getToken(w, r, id)
	}
	if err != nil {
		if id != nil {
			r = r.WithContext(withIdentity(r.Context(), id))
		}
		s.fail(w, r, err)
	}
}

func (s *Server) getToken(w http.ResponseWriter, r *http.Request, id *consumer.Identity) error {
	p, err := parseTokenQuery(r.URL.RawQuery, s.routes[tokenPath][http.MethodGet].query)
	if err != nil {
		return err
	}
	req := token.Request{Key: token.Key{Account: p.account, Resource: p.resource}, MinValidity: p.minValidity}
	answer, err := s.cfg.Tokens.Token(r.Context(), id, req)
	if err != nil {
		return err
	}
	if has := r.Header["If-None-Match"]; len(has) > 0 && matches(has, answer.Entry.ETag()) {
		if p.wait > 0 {
			answer, err = s.nextToken(r, id, req, held{answer, p.wait})
			if err != nil {
				return err
			}
		}
		if matches(has, answer.Entry.ETag()) {
			w.Header().Set("ETag", answer.Entry.ETag())
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	s.issued(w, id, answer)
	s.writeToken(w, answer)
	return nil
}

// held is an answer that the caller knows already, and how long it will wait for
// another.
type held struct {
	answer cache.Answer
	wait   time.Duration
}

// nextToken waits for another token; when the time is over it gives the one that
// is current then, and when the server stops the one the caller knows.
func (s *Server) nextToken(r *http.Request, id *consumer.Identity, req token.Request, h held) (cache.Answer, error) {
	ctx, cancel := s.hold(r.Context(), h.wait)
	defer cancel()
	answer, err := s.cfg.Tokens.Changed(ctx, id, req, h.answer.Entry.ETag())
	if err == nil || ctx.Err() == nil {
		return answer, err
	}
	select {
	case <-s.stopping:
		return h.answer, nil
	default:
		return s.cfg.Tokens.Token(r.Context(), id, req)
	}
}

// matches is If-None-Match with weak comparison (RFC 9110 sections 8.8.3.2 and
// 13.1.2).
func matches(header []string, etag string) bool {
	for _, line := range header {
		for line != "" {
			var one string
			one, line, _ = strings.Cut(line, ",")
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(etag, "W/") {
				return true
			}
		}
	}
	return false
}

// typeJSON is shared by all answers, like noStore.
var typeJSON = []string{echo.MIMEApplicationJSON}

// writeToken sends a token's ready-made bytes.
func (s *Server) writeToken(w http.ResponseWriter, a cache.Answer) {
	buf, ok := s.bodies.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	*buf = a.Entry.AppendJSON((*buf)[:0], time.Now(), a.FromCache)
	h := w.Header() // set without Set, whose canonical names cost time
	h["Etag"] = []string{a.Entry.ETag()}
	h["Content-Type"] = typeJSON
	h["Content-Length"] = []string{strconv.Itoa(len(*buf))}
	_, _ = w.Write(*buf) // a caller that has gone needs no answer
	clear(*buf)          // no token stays behind in the pool
	s.bodies.Put(buf)
}

// PostToken is for claims challenges and forced refreshes.
func (s *Server) PostToken(c echo.Context) error {
	var in TokenRequest
	if err := s.decode(c, "TokenRequest", false, &in); err != nil {
		return err
	}
	claims, err := parseClaims(in.Claims)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	answer, err := s.cfg.Tokens.Token(ctx, identityOf(ctx), token.Request{
		Key:         token.Key{Account: in.Account, Resource: in.Resource},
		MinValidity: time.Duration(in.MinValidity) * time.Second,
		Claims:      claims,
		Force:       in.ForceRefresh,
	})
	if err != nil {
		return err
	}
	s.issued(c.Response(), identityOf(ctx), answer)
	s.writeToken(c.Response(), answer)
	return nil
}
