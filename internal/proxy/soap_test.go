package proxy

import (
	"net/http"
	"strings"
	"testing"
)

const findItem = `<?xml version="1.0" encoding="utf-8"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">
<soap:Header><t:RequestServerVersion Version="Exchange2016"/><t:Body><t:GetItem/></t:Body></soap:Header>
<soap:Body><m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>
<m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds></m:FindItem></soap:Body></soap:Envelope>`

func TestOperationIn(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"whole":             {findItem, "FindItem"},
		"cut off behind it": {findItem[:strings.Index(findItem, "IdOnly")], "FindItem"},
		"cut off before it": {findItem[:strings.Index(findItem, "<m:FindItem")], ""},
		"SOAP 1.2":          {`<Envelope xmlns="http://www.w3.org/2003/05/soap-envelope"><Body><GetFolder xmlns="x"/></Body></Envelope>`, "GetFolder"},
		"no envelope":       {`<a><Body><GetFolder/></Body></a>`, ""},
		"no body":           {`<Envelope><Head><GetFolder/></Head></Envelope>`, ""},
		"empty body":        {`<Envelope><Body></Body></Envelope>`, ""},
		"text in the body":  {`<Envelope><Body>GetFolder</Body></Envelope>`, ""},
		"too deep":          {`<x><Envelope><Body><GetFolder/></Body></Envelope></x>`, ""},
		"an entity":         {`<!DOCTYPE x [<!ENTITY a "GetItem">]><Envelope><Body>&a;<FindItem/></Body></Envelope>`, ""},
		"no name":           {`<Envelope><Body><a-b/></Body></Envelope>`, ""},
		"a long name":       {`<Envelope><Body><A` + strings.Repeat("a", 100) + `/></Body></Envelope>`, ""},
		"another encoding":  {"\xff\xfe<\x00E\x00", ""},
		"JSON":              {`{"a":1}`, ""},
		"nothing":           {"", ""},
		"unbalanced":        {`</a><Envelope><Body><GetFolder/>`, ""},
	} {
		if got := operationIn([]byte(c.in)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestOperationOf(t *testing.T) {
	for in, want := range map[string]string{
		`"http://schemas.microsoft.com/exchange/services/2006/messages/FindItem"`: "FindItem",
		`http://schemas.microsoft.com/exchange/services/2006/messages/GetFolder`:  "GetFolder",
		`""`: "", "": "", `"urn:x/ops@contoso.com"`: "", "SyncFolderItems": "SyncFolderItems",
	} {
		if got := operationOf(http.Header{"Soapaction": {in}}); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	if got := operationOf(http.Header{"Soapaction": {"FindItem", "GetItem"}}); got != "" {
		t.Errorf("two actions are %q", got)
	}
}

func FuzzOperation(f *testing.F) {
	f.Add([]byte(findItem))
	f.Add([]byte(`<Envelope><Body><A/>`))
	f.Add([]byte(`<a><!-- --><?x?><![CDATA[x]]></a>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		op := operationIn(text)
		if op != "" && (operationName(op) != op || !strings.Contains(string(text), op)) {
			t.Errorf("%q has the operation %q", text, op)
		}
	})
}
