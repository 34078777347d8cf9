package proxy

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strings"
)

// operationOf is the operation of Exchange Web Services that SOAPAction names
// (SOAP 1.1 section 6.1.1), such as FindItem; "" where it names none.
func operationOf(h http.Header) string {
	if len(h["Soapaction"]) != 1 {
		return ""
	}
	action := strings.Trim(strings.TrimSpace(h["Soapaction"][0]), `"`)
	return operationName(action[strings.LastIndexByte(action, '/')+1:])
}

// operationIn is the operation in a SOAP request: the first element in its Body.
// It is "" where text, which need not be whole, has none. Nothing else of text is
// kept, and no entity of a document type is resolved.
func operationIn(text []byte) string {
	d := xml.NewDecoder(bytes.NewReader(text))
	var path [2]string // the elements around
	for depth := 0; ; {
		t, err := d.RawToken()
		if err != nil {
			return ""
		}
		switch t := t.(type) {
		case xml.StartElement:
			if depth == 2 && path[0] == "Envelope" && path[1] == "Body" {
				return operationName(t.Name.Local)
			}
			if depth < len(path) {
				path[depth] = t.Name.Local
			}
			depth++
		case xml.EndElement:
			if depth--; depth < 0 {
				return ""
			}
		}
	}
}

// maxOperation is longer than every operation's name.
const maxOperation = 64

// operationName holds a caller's text to what an operation's name looks like.
func operationName(name string) string {
	if len(name) == 0 || len(name) > maxOperation || name[0] < 'A' || name[0] > 'Z' {
		return ""
	}
	for _, c := range []byte(name) {
		if !isAlphanumeric(c) {
			return ""
		}
	}
	return name
}
