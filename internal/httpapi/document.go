package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/token"
	"github.com/m365-token-broker/broker/openapi"
)

// document is openapi/broker.yaml, read when it is first needed: reading takes
// longer than the rest of the start.
type document struct {
	spec *openapi3.T
	json []byte
}

func loadDocument() (*document, error) {
	spec, err := openapi3.NewLoader().LoadFromData([]byte(openapi.YAML()))
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document as JSON: %w", err)
	}
	return &document{spec: spec, json: b}, nil
}

// check holds a JSON text to a schema. Its errors name the member that is wrong
// and never a value.
func (d *document) check(schema string, raw []byte) error {
	if !utf8.Valid(raw) {
		return badRequest("The body is not UTF-8.")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	var value any
	if err := dec.Decode(&value); err != nil {
		return badRequest("The body is not JSON.")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest("The body holds more than one JSON value.")
	}
	ref := d.spec.Components.Schemas[schema]
	if ref == nil {
		return fmt.Errorf("the OpenAPI document has no schema %s", schema)
	}
	if name, twice := duplicate(json.NewDecoder(bytes.NewReader(raw))); twice {
		return badRequest(fmt.Sprintf("The member %s was sent twice; send it once.", shown(name)))
	}
	if err := checkMembers(value, ref.Value); err != nil {
		return err
	}
	if err := ref.Value.VisitJSON(value, openapi3.VisitAsRequest()); err != nil {
		return explain(err)
	}
	return nil
}

// duplicate finds a member that an object of the JSON text has twice, since
// readers disagree on which of the two counts (RFC 8259 section 4).
func duplicate(dec *json.Decoder) (name string, twice bool) {
	opening, err := dec.Token()
	delim, nested := opening.(json.Delim)
	if err != nil || !nested {
		return "", false
	}
	seen := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			key, _ := dec.Token()
			name, _ = key.(string)
			if seen[name] {
				return name, true
			}
			seen[name] = true
		}
		if name, twice = duplicate(dec); twice {
			return name, true
		}
	}
	_, _ = dec.Token() // the closing bracket
	return "", false
}

// checkMembers refuses members that the schema does not have; the validator
// would not say which.
func checkMembers(value any, schema *openapi3.Schema) error {
	object, ok := value.(map[string]any)
	if !ok {
		return badRequest("The body must be a JSON object.")
	}
	known := slices.Sorted(maps.Keys(schema.Properties))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !slices.Contains(known, name) {
			return badRequest(fmt.Sprintf("There is no member %s here%s", shown(name), suggestion(name, known)))
		}
	}
	return nil
}

// GetDocumentYAML serves the document as it was written.
func (s *Server) GetDocumentYAML(c echo.Context) error {
	return c.Blob(http.StatusOK, "application/yaml", []byte(openapi.YAML()))
}

// GetDocumentJSON serves the document as JSON.
func (s *Server) GetDocumentJSON(c echo.Context) error {
	doc, err := s.doc()
	if err != nil {
		return &token.Error{Kind: token.KindInternal, Op: "serve document", Err: err}
	}
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, doc.json)
}
