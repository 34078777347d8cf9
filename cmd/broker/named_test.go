package main

import (
	"go/ast"
	"regexp"
	"strconv"
	"testing"
)

// namedCommand finds `broker status` where a text tells a person to run it, not
// where it speaks of the broker.
var namedCommand = regexp.MustCompile("(?:`|\\(|[Rr]un |[Ss]ee |[Uu]se |with |; |\n +)broker ([a-z]+)")

// TestTextsNameOnlyCommandsThatExist: an error that sends a person to a command
// that this build does not have is no help.
func TestTextsNameOnlyCommandsThatExist(t *testing.T) {
	have := map[string]bool{"help": true, "completion": true}
	for _, c := range newRoot(environment{}).Commands() {
		have[c.Name()] = true
	}
	found := 0
	for _, f := range house(t) {
		if !f.product() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				return true
			}
			for _, m := range namedCommand.FindAllStringSubmatch(text, -1) {
				found++
				if !have[m[1]] {
					t.Errorf("%s: names broker %s, which is no command", f.at(lit), m[1])
				}
			}
			return true
		})
	}
	if found < 50 {
		t.Errorf("only %d commands were found in the texts; the search is broken", found)
	}
}
