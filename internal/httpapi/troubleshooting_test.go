package httpapi

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/token"
)

// TestTroubleshootingHasEveryCode holds the table of codes in docs/troubleshooting.md
// against the kinds and their statuses, both ways.
func TestTroubleshootingHasEveryCode(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z].*?) \\| ([0-9, ]+) \\|").FindAllStringSubmatch(string(text), -1) {
		for code := range strings.SplitSeq(row[1], ", ") {
			statuses[strings.Trim(code, "`")] = row[2]
		}
	}
	for _, kind := range token.Kinds() {
		want := strconv.Itoa(meanings[kind].status)
		if got := statuses[kind.Code()]; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q in the document, %s in the code", kind, got, want)
		}
		delete(statuses, kind.Code())
	}
	for code := range statuses {
		t.Errorf("%s is no code of the broker", code)
	}
}
