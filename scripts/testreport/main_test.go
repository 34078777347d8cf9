package main

import (
	"io"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	const (
		pass = `{"Action":"pass","Package":"p","Test":"TestA"}`
		skip = `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:1: needs Windows\n"}
{"Action":"skip","Package":"p","Test":"TestB"}`
		fail = `{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:1: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}`
		build = `{"ImportPath":"q","Action":"build-output","Output":"q.go:1: undefined: x\n"}
{"Action":"fail","Package":"q","FailedBuild":"q"}`
		closing = `{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}`
	)
	for name, c := range map[string]struct {
		in   string
		ok   bool
		want []string
	}{
		"all well":     {pass + "\n" + closing, true, []string{"ok  \tp\t0.1s", "1 passed, 0 failed, 0 skipped"}},
		"a skip":       {pass + "\n" + skip, true, []string{"skipped: p TestB: b_test.go:1: needs Windows", "1 passed, 0 failed, 1 skipped"}},
		"a failure":    {pass + "\n" + fail, false, []string{"c_test.go:1: wrong", "1 passed, 1 failed, 0 skipped"}},
		"a build":      {pass + "\n" + build, false, []string{"undefined: x", "1 passed, 1 failed, 0 skipped"}},
		"no test":      {closing, false, []string{"0 passed, 0 failed"}},
		"other output": {"go: no such module\n" + pass, true, []string{"go: no such module"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out)
			ok, err := r.run(strings.NewReader(c.in))
			if err != nil || ok != c.ok {
				t.Errorf("run = %v, %v; want %v", ok, err, c.ok)
			}
			for _, w := range c.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("output lacks %q:\n%s", w, &out)
				}
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	const (
		finished = `{"Action":"output","Package":"p","Output":"FAIL\n"}` + "\n"
		subtest  = `{"Action":"fail","Package":"p","Test":"TestA/one.two"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p","Test":"TestAB"}
`
		end = `{"Action":"fail","Package":"p"}`
	)
	for name, c := range map[string]struct{ in, want string }{
		"tests":             {subtest + finished + end, "p ^TestA$/^one\\.two$\np ^TestAB$\n"},
		"a test that dies":  {subtest + end, "p .\n"}, // the tests after it did not run
		"a program or more": {end + "\n" + strings.ReplaceAll(end, `"p"`, `"q"`), "p .\nq .\n"},
		"nothing":           {`{"Action":"pass","Package":"p","Test":"TestA"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReport(io.Discard)
			if _, err := r.run(strings.NewReader(c.in)); err != nil {
				t.Fatal(err)
			}
			if got := r.patterns(); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}
