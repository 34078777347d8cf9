package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/token"
)

// decode reads a request's body into v, after holding it to the named schema of
// the document. With optional an empty body leaves v as it is.
func (s *Server) decode(c echo.Context, schema string, optional bool, v any) error {
	raw, err := s.readBody(c.Response(), c.Request())
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(raw)) == 0 && optional {
		return nil
	}
	if err := isJSON(c.Request().Header); err != nil {
		return err
	}
	doc, err := s.doc()
	if err != nil {
		return err
	}
	if err := doc.check(schema, raw); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return badRequest("The body does not have the form that /openapi.yaml describes.")
	}
	return nil
}

// readBody reads what the gate lets through, within bodyTime.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // in-process requests have none
	defer func() { _ = control.SetReadDeadline(time.Now().Add(answerTime)) }()
	// A body that is still on its way when the request is given up is waited for
	// no longer.
	forget := context.AfterFunc(r.Context(), func() { _ = control.SetReadDeadline(time.Now()) })
	defer forget()
	raw, err := io.ReadAll(r.Body)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(large.Limit)
	}
	if err != nil && s.isStopping() && r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, badRequest("The body did not arrive whole; send it again.")
	}
	return raw, nil
}

func isJSON(h http.Header) error {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset := params["charset"]
	if err == nil && kind == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8")) {
		return nil
	}
	return &statusError{http.StatusUnsupportedMediaType, token.NewError(token.KindInvalidRequest, "read body", "The body must be JSON; send it with Content-Type: application/json.")}
}
