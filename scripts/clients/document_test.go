package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const page = "../../docs/consumers.md"

func document(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the page says is run has a run of its own here, and the other way round.
func TestEveryRecipeIsRun(t *testing.T) {
	named, err := recipes(document(t))
	if err != nil {
		t.Fatal(err)
	}
	var ours []string
	for _, c := range clients() {
		ours = append(ours, c.recipe)
	}
	for _, m := range mailTools() {
		ours = append(ours, m.recipe)
	}
	ours = append(ours, variables)
	for name, b := range named {
		if !slices.Contains(ours, name) {
			t.Errorf("line %d: nothing runs run=%s", b.line, name)
		}
	}
	for _, name := range ours {
		if named[name].name == "" {
			t.Errorf("docs/consumers.md has no block run=%s", name)
		}
	}
}

// A block of a program that is not run says so right below; the commands of a
// shell are held against the program by cmd/broker.
func TestOthersSayThatTheyAreNotRun(t *testing.T) {
	list, err := blocks(document(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if b.name == "" && b.language != "sh" && !notRun.MatchString(b.after) {
			t.Errorf("line %d: the block is not run, and the lines below do not say so", b.line)
		}
	}
}

func TestBlocks(t *testing.T) {
	list, err := blocks("a\n```sh run=one\nx\n\ny\n```\nb\n## c\n```go\n```\nd\n")
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if want := (block{name: "one", language: "sh", text: "x\n\ny\n", line: 2, after: "b\n"}); list[0] != want {
		t.Errorf("got %+v, want %+v", list[0], want)
	}
	if want := (block{language: "go", line: 9, after: "d\n\n"}); list[1] != want {
		t.Errorf("got %+v, want %+v", list[1], want)
	}
	for name, bad := range map[string]string{
		"no end": "```sh\nx\n", "no language": "```\nx\n```\n", "another attribute": "```sh file=x\n```\n",
	} {
		if _, err := blocks(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := recipes("```sh run=a\n```\n```sh run=a\n```\n"); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("twice: %v", err)
	}
}

func TestSwap(t *testing.T) {
	if got, err := swap("a b a", "a", "c"); got != "c b c" || err != nil {
		t.Error(got, err)
	}
	if _, err := swap("a", "x", "y"); err == nil {
		t.Error("nothing to replace is no error")
	}
}
