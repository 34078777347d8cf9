package telemetry

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var docName = regexp.MustCompile("(?m)^\\| `([^`]+)`")

// docs/telemetry.md and names.go hold the same names: each first cell of a
// table in the sections of the document is one name.
func TestDocumentListsTheSameNames(t *testing.T) {
	raw, err := os.ReadFile("../../docs/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	metrics := make([]string, 0, len(metricTable))
	for _, m := range metricTable {
		metrics = append(metrics, m.name)
		for _, a := range m.attributes {
			if !slices.Contains(attributeNames, a) {
				t.Errorf("attribute %s of %s is not listed", a, m.name)
			}
		}
	}
	for section, names := range map[string][]string{
		"Spans": append([]string{"GET /v1/token", "POST"}, spanNames...), "Metrics": metrics, "Attributes": attributeNames,
	} {
		_, rest, ok := strings.Cut(string(raw), "\n## "+section+"\n")
		if !ok {
			t.Fatalf("docs/telemetry.md has no section %s", section)
		}
		text, _, _ := strings.Cut(rest, "\n## ")
		var listed []string
		for _, m := range docName.FindAllStringSubmatch(text, -1) {
			listed = append(listed, m[1])
		}
		for _, name := range names {
			if !slices.Contains(listed, name) {
				t.Errorf("docs/telemetry.md, section %s: %s is missing", section, name)
			}
		}
		for _, name := range listed {
			if !slices.Contains(names, name) {
				t.Errorf("docs/telemetry.md, section %s: names.go has no %s", section, name)
			}
		}
	}
	_, table, _ := strings.Cut(string(raw), "\n## Metrics\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, m := range metricTable {
		for line := range strings.SplitSeq(table, "\n") {
			if !strings.HasPrefix(line, "| `"+m.name+"` ") {
				continue
			}
			for _, want := range append([]string{m.unit}, m.attributes...) {
				if !strings.Contains(line, "`"+want+"`") {
					t.Errorf("docs/telemetry.md, %s: %s is missing", m.name, want)
				}
			}
		}
	}
}
