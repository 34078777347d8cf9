package main

import "testing"

func TestFindForm(t *testing.T) {
	f := findForm(`<p>Hello</p><form id="a" method="post" action="https://x/y?a=1&amp;b=2">
<input type="hidden" name="xsrf" value="1&amp;2"/><input name="user_code" placeholder="code"></form>`)
	if f == nil || f.action != "https://x/y?a=1&b=2" {
		t.Fatalf("form = %+v", f)
	}
	if f.fields.Get("xsrf") != "1&2" || !f.fields.Has("user_code") {
		t.Errorf("fields = %v", f.fields)
	}
	if findForm("<p>Signed in</p>") != nil {
		t.Error("found a form where there is none")
	}
}
