package httpapi

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// explain makes a sentence out of a schema violation: which member, and, in the
// words of the document, what it takes.
func explain(err error) error {
	e, ok := errors.AsType[*openapi3.SchemaError](err)
	if !ok {
		return badRequest("The body does not have the form that /openapi.yaml describes.")
	}
	member := "The member " + shown(strings.Join(e.JSONPointer(), "."))
	switch e.SchemaField {
	case "required":
		return badRequest(member + " is missing.")
	case "type", "nullable", "oneOf", "enum", "minimum", "maximum":
		return badRequest(member + " must be " + wanted(e.Schema) + meant(": ", e.Schema) + ".")
	case "minLength", "minItems":
		return badRequest(member + " is empty" + meant("; it takes ", e.Schema) + ".")
	case "maxLength":
		return badRequest(fmt.Sprintf("%s is too long: it may hold %d characters.", member, value(e.Schema.MaxLength)))
	case "maxItems":
		return badRequest(fmt.Sprintf("%s has too many entries: it may hold %d.", member, value(e.Schema.MaxItems)))
	default:
		return badRequest(member + " is not right" + meant("; it takes ", e.Schema) + ".")
	}
}

// wanted names the values that a schema allows.
func wanted(s *openapi3.Schema) string {
	switch {
	case len(s.Enum) > 0:
		return oneOf(words(s.Enum))
	case s.Type.Is("integer") && s.Min != nil && s.Max != nil:
		return fmt.Sprintf("a whole number from %.0f to %.0f", *s.Min, *s.Max)
	case s.Type.Is("integer"):
		return "a whole number"
	case s.Type.Is("boolean"):
		return "true or false"
	case s.Type.Is("array"):
		return "a list"
	case s.Type.Is("string"):
		return "a text"
	case len(s.OneOf) > 0 && slices.ContainsFunc(s.OneOf, isObject):
		return "a JSON object, or a text that holds one"
	case len(s.OneOf) > 0:
		return "a text or a whole number"
	default:
		return "of the type that /openapi.yaml states"
	}
}

func isObject(ref *openapi3.SchemaRef) bool { return ref.Value.Type.Is("object") }

// meant is the first sentence of a schema's description, with its example, as
// the tail of a sentence that joint begins. Lists of values and objects need none.
func meant(joint string, s *openapi3.Schema) string {
	text, _, _ := strings.Cut(strings.TrimSpace(s.Description), ". ")
	text = strings.TrimSuffix(text, ".")
	if text == "" || len(s.Enum) > 0 || s.Type.Is("object") || len(s.OneOf) > 0 {
		return ""
	}
	text = joint + strings.ToLower(text[:1]) + text[1:]
	if example := fmt.Sprint(s.Example); s.Example != nil && !strings.Contains(text, example) {
		text += " (for example " + example + ")"
	}
	return text
}

// value is a limit of a schema; one that is not set limits nothing.
func value(limit *uint64) uint64 {
	if limit == nil {
		return math.MaxInt64
	}
	return *limit
}

func words(enum []any) []string {
	var out []string
	for _, v := range enum {
		out = append(out, fmt.Sprint(v))
	}
	return out
}
