package entra

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// TestEveryNumberIsInTheDocument holds docs/troubleshooting.md against the numbers
// that have a sentence, both ways.
func TestEveryNumberIsInTheDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []int
	for _, row := range regexp.MustCompile(`(?m)^\| AADSTS[^|]*\|`).FindAllString(string(text), -1) {
		for _, n := range regexp.MustCompile(`AADSTS(\d+)`).FindAllStringSubmatch(row, -1) {
			number, _ := strconv.Atoi(n[1]) // digits
			listed = append(listed, number)
		}
	}
	slices.Sort(listed)
	if twice := slices.Compact(slices.Clone(listed)); len(twice) != len(listed) {
		t.Error("a number is in two rows")
	}
	const beyond = 10_000_000 // Entra ID's numbers have up to seven digits
	for n := range beyond {
		_, known := codeHelp(n)
		if _, found := slices.BinarySearch(listed, n); known != found {
			t.Errorf("AADSTS%d: has a sentence: %v, is in docs/troubleshooting.md: %v", n, known, found)
		}
	}
}
