package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/m365-token-broker/broker/openapi"
)

// documentRoute is one path of the document.
type documentRoute struct {
	pattern string
	expr    *regexp.Regexp
	item    *openapi3.PathItem
}

// document is openapi/broker.yaml with every object closed: a member that is
// not described is an error.
type document struct {
	spec   *openapi3.T
	routes []documentRoute
}

var readDocument = sync.OnceValues(func() (*document, error) {
	spec, err := openapi3.NewLoader().LoadFromData([]byte(openapi.YAML()))
	if err != nil {
		return nil, err
	}
	no := false
	for _, ref := range spec.Components.Schemas {
		if v := ref.Value; len(v.Properties) > 0 && v.AdditionalProperties.Has == nil {
			v.AdditionalProperties.Has = &no
		}
	}
	d := &document{spec: spec}
	parameter := regexp.MustCompile(`\\\{[a-z]+\\\}`)
	for pattern, item := range spec.Paths.Map() {
		expr := "^" + parameter.ReplaceAllString(regexp.QuoteMeta(pattern), "[^/]+") + "$"
		d.routes = append(d.routes, documentRoute{pattern, regexp.MustCompile(expr), item})
	}
	return d, spec.Validate(context.Background())
})

// hold holds an answer to the document, and to what the contract says of all.
func (d *document) hold(r *http.Request, res *http.Response, body []byte) error {
	if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Request-Id") == "" {
		return fmt.Errorf("headers %v", res.Header)
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if strings.HasPrefix(r.URL.Path, "/proxy/") && kind != "application/problem+json" {
		return nil // the resource's own answer
	}
	identity := strings.HasPrefix(r.URL.Path, "/msi/") && kind == "application/json" // has errors of its own form
	if res.StatusCode >= http.StatusBadRequest && r.URL.Path != "/readyz" && kind != "application/problem+json" && !identity {
		return fmt.Errorf("status %d with content type %q", res.StatusCode, kind)
	}
	for _, route := range d.routes {
		op := route.item.GetOperation(r.Method)
		if op == nil || !route.expr.MatchString(r.URL.Path) {
			continue
		}
		return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{
				Request: r, Route: &routers.Route{Spec: d.spec, Path: route.pattern, PathItem: route.item, Method: r.Method, Operation: op},
			},
			Status: res.StatusCode, Header: res.Header, Body: io.NopCloser(bytes.NewReader(body)),
			Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: kind == "application/yaml" || kind == "text/plain"},
		})
	}
	schema := "Problem" // of a route that is not there
	if identity {
		schema = "ManagedIdentityError"
	}
	var problem any
	if err := json.Unmarshal(body, &problem); err != nil {
		return err
	}
	return d.spec.Components.Schemas[schema].Value.VisitJSON(problem)
}
