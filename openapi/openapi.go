// Package openapi holds the machine-readable contract of the loopback API. The
// server and its types in internal/httpapi are generated from it, requests are
// checked against it, and the broker serves it.
package openapi

import _ "embed"

//go:embed broker.yaml
var document string

// YAML is the document as it was written.
func YAML() string { return document }
