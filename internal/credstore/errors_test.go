package credstore

import (
	"errors"
	"strings"
	"testing"
)

func TestReasonsAreComplete(t *testing.T) {
	seen := map[string]Reason{}
	for r := Failed; r <= InvalidID; r++ {
		code, remedy := r.String(), r.Remedy()
		if code == "" || strings.ToLower(code) != code || strings.Contains(code, " ") {
			t.Errorf("reason %d has the code %q", r, code)
		}
		if other, twice := seen[code]; twice {
			t.Errorf("reasons %d and %d have the code %q", r, other, code)
		}
		seen[code] = r
		if !strings.HasSuffix(remedy, ".") || strings.Count(remedy, ". ") > 0 {
			t.Errorf("the remedy of %s is not one sentence: %q", code, remedy)
		}
	}
	if len(reasons) != int(InvalidID)+1 {
		t.Errorf("%d reasons, %d texts", InvalidID+1, len(reasons))
	}
	if Reason(99).String() != "failed" || Reason(-1).Remedy() != Failed.Remedy() {
		t.Error("an unknown reason is not Failed")
	}
}

func TestErrorText(t *testing.T) {
	err := error(&Error{Op: opSave, Reason: Quota, Err: errors.New("Windows error 8")})
	if got, want := err.Error(), "save secret: "+Quota.Remedy()+" (Windows error 8)"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	err = corrupt(opLoad, "record %q: cut", "x")
	if !errors.Is(err, ErrCorrupt) || ReasonOf(err) != Corrupt {
		t.Errorf("corrupt gives %v", err)
	}
	if ReasonOf(errors.New("foreign")) != Failed {
		t.Error("a foreign error has a reason")
	}
}
