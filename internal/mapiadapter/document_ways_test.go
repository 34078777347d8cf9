package mapiadapter

import (
	"regexp"
	"strings"
	"testing"
)

// The ways out of each phase are those of the design's table, by which the model
// is checked. A pause is said once for all phases.
func TestDocumentWays(t *testing.T) {
	documented := map[edge]bool{}
	for _, row := range rows(section(t, "### Phases")) {
		from := Phase(row[0])
		documented[edge{from, Suspended}] = true
		for _, m := range regexp.MustCompile("→ ((?:`[a-z0-9_]+`(?: or )?)+)").FindAllStringSubmatch(row[2], -1) {
			for _, to := range regexp.MustCompile("[a-z0-9_]+").FindAllString(strings.ReplaceAll(m[1], " or ", " "), -1) {
				documented[edge{from, Phase(to)}] = true
			}
		}
	}
	code := table()
	for e := range code {
		if !documented[e] {
			t.Errorf("docs/mapi.md, Phases: no way leads from %s to %s", e.from, e.to)
		}
	}
	for e := range documented {
		if !code[e] {
			t.Errorf("docs/mapi.md, Phases: the machine has no way from %s to %s", e.from, e.to)
		}
	}
}
