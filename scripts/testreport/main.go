// Command testreport reads the output of `go test -json` and prints what a
// person wants to see of it: the closing line of each package, the whole output
// of what failed, every skipped test with its reason, and one line of counts.
//
//	go test -json ./... | go run ./scripts/testreport [-failed FILE]
//
// FILE gets a line for each test that failed, or for its package, where not all of
// its tests ran: the package, a space, and what go test -run takes. It exits 1
// where a test or a build failed or no test ran at all.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // instead of Package, in build output
	Test       string
	Output     string
}

// name is what the event is about: a test, a package or a build.
func (e event) name() string {
	switch {
	case e.Test != "":
		return e.Package + " " + e.Test
	case e.Package != "":
		return e.Package
	}
	return e.ImportPath
}

// report collects the events.
type report struct {
	out                     io.Writer
	output                  map[string]*strings.Builder // by name, until its end
	skips                   []string
	passed, failed, skipped int // tests; failed also counts packages without one
	failures                []event
	finished                map[string]bool // packages whose failed test program came to its end
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[string]*strings.Builder{}, finished: map[string]bool{}}
}

func main() {
	failed := flag.String("failed", "", "a `file` for what failed, as go test -run takes it")
	flag.Parse()
	r := newReport(os.Stdout)
	ok, err := r.run(os.Stdin)
	if *failed != "" && err == nil {
		err = os.WriteFile(*failed, []byte(r.patterns()), 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run copies what matters of in to r.out and reports whether all is well.
func (r *report) run(in io.Reader) (bool, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			_, _ = fmt.Fprintln(r.out, lines.Text()) // a message of the go command itself
			continue
		}
		r.add(e)
	}
	for _, s := range r.skips {
		_, _ = fmt.Fprintln(r.out, "skipped:", s)
	}
	_, _ = fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	return r.failed == 0 && r.passed > 0, lines.Err()
}

// add takes one event in.
func (r *report) add(e event) {
	switch e.Action {
	case "output", "build-output":
		r.keep(e)
	case "pass":
		r.end(e, &r.passed)
	case "skip":
		if e.Test != "" {
			r.skips = append(r.skips, e.name()+": "+reason(r.text(e)))
		}
		r.end(e, &r.skipped)
	case "fail":
		if e.Test != "" {
			_, _ = fmt.Fprint(r.out, r.text(e))
		} else if !r.failedWithin(e) {
			r.failed++ // it did not build, or died outside a test
		}
		r.failures = append(r.failures, e)
		r.end(e, &r.failed)
	}
}

// keep stores a line of output until it is known what became of its test. The
// lines of a package and of a build are shown at once.
func (r *report) keep(e event) {
	if e.Test == "" {
		if e.Output == "FAIL\n" { // what died says nothing of the kind
			r.finished[e.Package] = true
		}
		if e.Output != "PASS\n" {
			_, _ = fmt.Fprint(r.out, e.Output)
		}
		return
	}
	b := r.output[e.name()]
	if b == nil {
		b = &strings.Builder{}
		r.output[e.name()] = b
	}
	b.WriteString(e.Output)
}

// end counts a test and forgets its output.
func (r *report) end(e event, count *int) {
	if e.Test != "" {
		*count++
	}
	delete(r.output, e.name())
}

// failedWithin reports whether a test within the event's test or package failed.
func (r *report) failedWithin(e event) bool {
	return slices.ContainsFunc(r.failures, func(f event) bool {
		return f.Package == e.Package && f.Test != e.Test && (e.Test == "" || strings.HasPrefix(f.Test, e.Test+"/"))
	})
}

// patterns names what failed, each for a run of its own.
func (r *report) patterns() string {
	var b strings.Builder
	for _, f := range r.failures {
		whole := !r.finished[f.Package]
		switch {
		case f.Test == "" && whole:
			fmt.Fprintf(&b, "%s .\n", f.Package)
		case f.Test != "" && !whole && !r.failedWithin(f): // not the test around it
			levels := strings.Split(regexp.QuoteMeta(f.Test), "/")
			fmt.Fprintf(&b, "%s ^%s$\n", f.Package, strings.Join(levels, "$/^"))
		}
	}
	return b.String()
}

// text is the output of the event's test so far.
func (r *report) text(e event) string {
	if b := r.output[e.name()]; b != nil {
		return b.String()
	}
	return ""
}

// reason finds what a test gave t.Skip in its output.
func reason(output string) string {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}
