package mapiprobe

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

func TestResultJSON(t *testing.T) {
	r := NewResult(StepOpen, 0x8004011D)
	r.Took, r.Bitness, r.MAPI = 1500*time.Millisecond, desktop.X64, desktop.X64
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"class":"auth","hresult":"0x8004011D","name":"MAPI_E_FAILONEPROVIDER","step":"open","took_ms":1500,"bitness":"x64","mapi_bitness":"x64","sentence":"` + Sentence(0x8004011D) + `"}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	var again Result
	if err := json.Unmarshal(text, &again); err != nil || again != r {
		t.Errorf("read again: %+v, %v", again, err)
	}
}

func TestResultFromForeignJSON(t *testing.T) {
	for _, text := range []string{`{}`, `[]`, `null-ish`, `{"hresult":"no"}`, `{"hresult":"0x0","took_ms":-1}`, `{"hresult":"0x0","took_ms":9223372036854775807}`} {
		var r Result
		if err := json.Unmarshal([]byte(text), &r); err == nil {
			t.Errorf("%s was taken for %+v", text, r)
		}
	}
}

// Whoever wrote the JSON, the class is ours.
func TestResultClassIsWorkedOut(t *testing.T) {
	var r Result
	if err := json.Unmarshal([]byte(`{"class":"ok","name":"S_OK","hresult":"0x8004011D","step":"open"}`), &r); err != nil || r.Class != ClassAuth || r.Name != "MAPI_E_FAILONEPROVIDER" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSentenceNamesTheOtherProgram(t *testing.T) {
	r := NewResult(StepLoad, HResultBitness)
	r.Bitness, r.MAPI = desktop.X64, desktop.X86
	if got, want := r.Sentence(), "Outlook is x86 and this program x64; use the broker of Outlook's bitness (broker-x86.exe)."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, mapi := range []desktop.Bitness{"", desktop.X64} { // not known; a damaged DLL
		if r.MAPI = mapi; r.Sentence() != Sentence(HResultBitness) {
			t.Errorf("got %q", r.Sentence())
		}
	}
}

// The exit codes are a promise; 2 to 5 are the contract's.
func TestExitCodes(t *testing.T) {
	want := map[Class]int{
		ClassOK: 0, ClassAuth: 10, ClassLogon: 11, ClassNetwork: 12, ClassBusy: 13, ClassConfiguration: 14, ClassInstallation: 15, ClassOther: 16,
	}
	for class, code := range want {
		if got := class.ExitCode(); got != code {
			t.Errorf("%s exits with %d, want %d", class, got, code)
		}
	}
}
