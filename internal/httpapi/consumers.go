package httpapi

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// ListConsumers shows all consumers.
func (s *Server) ListConsumers(c echo.Context) error {
	views := s.cfg.Consumers.List()
	out := ConsumerList{Consumers: make([]Consumer, len(views))}
	for i, v := range views {
		out.Consumers[i] = consumerOf(v)
	}
	return answer(c, http.StatusOK, out)
}

// AddConsumer makes a consumer and answers with its key.
func (s *Server) AddConsumer(c echo.Context) error {
	var in ConsumerRequest
	if err := s.decode(c, "ConsumerRequest", false, &in); err != nil {
		return err
	}
	var rate config.Rate
	if err := rate.UnmarshalText([]byte(in.Rate)); err != nil {
		return badRequest("rate " + err.Error() + ".")
	}
	key, v, err := s.cfg.Consumers.Add(c.Request().Context(), consumer.Spec{
		Name: in.Name, Accounts: in.Accounts, Resources: in.Resources, MAPI: in.Mapi, Rate: rate,
		Executable: in.Executable, Metrics: in.Metrics,
		Lease: time.Duration(in.LeaseSeconds) * time.Second, SameAs: in.SameAs,
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusCreated, newKeyOf(key, v))
}

// RemoveConsumer ends a consumer.
func (s *Server) RemoveConsumer(c echo.Context, name ConsumerPath) error {
	if err := s.cfg.Consumers.Remove(c.Request().Context(), name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// defaultOverlap is how long the old keys work after a rotation.
const defaultOverlap = 24 * time.Hour

// RotateConsumer gives a consumer a new key.
func (s *Server) RotateConsumer(c echo.Context, name ConsumerPath) error {
	var in RotateRequest
	if err := s.decode(c, "RotateRequest", true, &in); err != nil {
		return err
	}
	overlap := defaultOverlap
	if in.OverlapSeconds != nil {
		overlap = time.Duration(*in.OverlapSeconds) * time.Second
	}
	key, v, err := s.cfg.Consumers.Rotate(c.Request().Context(), name, overlap)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, newKeyOf(key, v))
}

// RenewConsumer lets a lease end later.
func (s *Server) RenewConsumer(c echo.Context, name ConsumerPath) error {
	var in RenewRequest
	if err := s.decode(c, "RenewRequest", false, &in); err != nil {
		return err
	}
	v, err := s.cfg.Consumers.Renew(name, time.Duration(in.LeaseSeconds)*time.Second)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, consumerOf(v))
}

// newKeyOf is the one answer that a key leaves the broker in.
func newKeyOf(key token.Secret, v consumer.View) ConsumerKey {
	return ConsumerKey{Name: v.Name, Key: key.Reveal(), Consumer: consumerOf(v)}
}

func consumerOf(v consumer.View) Consumer {
	out := Consumer{
		Name: v.Name, Accounts: list(v.Accounts), Resources: list(v.Resources), Mapi: v.MAPI, Rate: v.Rate.String(),
		Executable: v.Executable, Metrics: v.Metrics, CreatedAt: utc(v.CreatedOn), LeaseEndsAt: utc(v.LeaseEnds),
		SameAs: v.SameAs, Keys: make([]ConsumerKeyInfo, len(v.Keys)),
		Requests: v.Requests, Refusals: v.Refusals, LastUsedAt: utc(v.LastUsed),
		LastRefusal: v.LastRefusal, LastRefusalAt: utc(v.LastRefusalOn),
	}
	for i, k := range v.Keys {
		out.Keys[i] = ConsumerKeyInfo{Sha256Prefix: k.Prefix, EndsAt: utc(k.EndsOn)}
	}
	return out
}

// list is never null in JSON.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
