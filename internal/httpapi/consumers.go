package httpapi

import (
	"net/http"
	"strings"
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
	spec, err := specOf(in)
	if err != nil {
		return err
	}
	key, v, err := s.cfg.Consumers.Add(c.Request().Context(), spec)
	if err != nil {
		return err
	}
	s.did(c, "consumer.added", v.Name)
	return answer(c, http.StatusCreated, newKeyOf(key, v))
}

func specOf(in ConsumerRequest) (consumer.Spec, error) {
	s := consumer.Spec{
		Name: in.Name, Accounts: in.Accounts, Resources: in.Resources, MAPI: in.Mapi,
		ClientID: in.ClientID, Metrics: in.Metrics, Note: in.Note,
		Executable: in.Executable, SHA256: strings.ToLower(in.Sha256), User: in.User,
		Sink: in.Sink, SinkFormat: config.SinkFormat(in.SinkFormat),
		Lease: time.Duration(in.LeaseSeconds) * time.Second, SameAs: in.SameAs, KeySHA256: in.KeySha256, Process: in.Process,
	}
	if err := s.Rate.UnmarshalText([]byte(in.Rate)); err != nil {
		return s, badRequest("rate " + err.Error() + ".")
	}
	if err := s.Hours.UnmarshalText([]byte(in.Hours)); err != nil {
		return s, badRequest("hours " + err.Error() + ".")
	}
	return s, nil
}

// RemoveConsumer ends a consumer.
func (s *Server) RemoveConsumer(c echo.Context, name ConsumerPath) error {
	if err := s.cfg.Consumers.Remove(c.Request().Context(), name); err != nil {
		return err
	}
	s.did(c, "consumer.removed", name)
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
	s.did(c, "consumer.rotated", v.Name)
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

// newKeyOf is the one answer that a key leaves the broker in; there is none where
// the caller made it.
func newKeyOf(key token.Secret, v consumer.View) ConsumerKey {
	return ConsumerKey{Name: v.Name, Key: key.Reveal(), Consumer: consumerOf(v)}
}

func consumerOf(v consumer.View) Consumer {
	out := Consumer{
		Name: v.Name, Accounts: list(v.Accounts), Resources: list(v.Resources), Mapi: v.MAPI, Rate: v.Rate.String(),
		Hours: v.Hours.String(), ClientID: v.ClientID, Executable: v.Executable, Sha256: v.SHA256, User: v.User,
		Sink: v.Sink, SinkFormat: string(v.SinkFormat), Note: v.Note,
		Metrics: v.Metrics, CreatedAt: utc(v.CreatedOn), LeaseEndsAt: utc(v.LeaseEnds),
		SameAs: v.SameAs, Keys: make([]ConsumerKeyInfo, len(v.Keys)),
		Requests: v.Requests, Refusals: v.Refusals, LastUsedAt: utc(v.LastUsed),
		LastAccount: v.LastServed.Account, LastResource: v.LastServed.Resource, LastProgram: v.LastProgram,
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
