package desktop

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestFailureOf(t *testing.T) {
	for code, want := range map[uint32]string{
		0x800401E3: FailureAbsent,
		0x80010001: FailureBusy,
		0x8001010A: FailureBusy,
		0x800706BA: FailureGone,
		0x800706BE: FailureGone,
		0x80010108: FailureGone,
		0x80010007: FailureGone,
		0x80010012: FailureGone,
		0x800401FD: FailureGone,
		0x80070005: FailureOther,
		0x80080005: FailureOther,
		0:          FailureOther,
	} {
		if got := failureOf(code); got != want {
			t.Errorf("failureOf(%#x) is %q, want %q", code, got, want)
		}
	}
}

// Every failure has a sentence of its own.
func TestCallErrors(t *testing.T) {
	seen := map[string]string{}
	for _, word := range []string{FailureBusy, FailureAbsent, FailureGone, FailureNoAnswer, FailureOther} {
		sentence := (&CallError{Failure: word}).Error()
		if other := seen[sentence]; other != "" || !strings.HasSuffix(sentence, ".") {
			t.Errorf("%s says %q, as %s does", word, sentence, other)
		}
		seen[sentence] = word
	}
}

// Attaching never starts Outlook, nothing ends it, nobody is logged on, and what
// makes Outlook ask the person for leave stays untouched.
func TestNeverThroughCOM(t *testing.T) {
	never := regexp.MustCompile(`CreateInstance|CreateObject|CoCreate|GetObject\(|"(Quit|Close|Logon|Logoff|CurrentUser|SmtpAddress|Accounts|Offline)"`)
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no source: ", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := never.Find(text); found != nil {
			t.Errorf("%s holds %s", name, found)
		}
	}
}
