// Package mapiprobe asks one question: can a program open this Outlook profile's
// mailbox by Extended MAPI right now? A separate process of Office's bitness
// does it (`broker mapi probe`, package extendedmapi), as MAPI can hang, crash
// or show a box; this package starts that process, ends it when its time is
// over, and says what an HRESULT means.
package mapiprobe

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// Step is how far the probe came.
type Step string

// The steps, in their order.
const (
	StepLoad       Step = "load"       // find MAPI's DLL, compare the bitness, load it
	StepInitialize Step = "initialize" // MAPIInitialize
	StepLogon      Step = "logon"      // MAPILogonEx
	StepStores     Step = "stores"     // find the default store in the profile
	StepOpen       Step = "open"       // OpenMsgStore
	StepRead       Step = "read"       // read one property from the server
)

// Result is what came out of a probe.
type Result struct {
	HResult uint32
	Name    string // the HRESULT's symbol, MAPI_E_…; empty: not known
	Step    Step   // the last one that was tried; empty: the probe was ended and could not say
	Class   Class
	Took    time.Duration
	Bitness desktop.Bitness // of the probe
	MAPI    desktop.Bitness // of MAPI on this computer; empty: not known
}

// NewResult is the result of a step that gave hr.
func NewResult(step Step, hr uint32) Result {
	return Result{HResult: hr, Name: Name(hr), Step: step, Class: Classify(hr)}
}

// Sentence says for a person what came out and what to do.
func (r Result) Sentence() string {
	if r.HResult == HResultBitness && r.MAPI != "" && r.Bitness != "" && r.MAPI != r.Bitness {
		return fmt.Sprintf("Outlook is %s and this program %s; use the broker of Outlook's bitness (broker-%s.exe).", r.MAPI, r.Bitness, r.MAPI)
	}
	return Sentence(r.HResult)
}

// The exit codes of `broker mapi probe`, besides 0 and the contract's 1 and 2.
// Programs rely on them: none is ever given another meaning.
const (
	ExitAuth          = 10
	ExitLogon         = 11
	ExitNetwork       = 12
	ExitBusy          = 13
	ExitConfiguration = 14
	ExitInstallation  = 15
	ExitOther         = 16
)

// ExitCode is the probe's exit code for a class.
func (c Class) ExitCode() int {
	switch c {
	case ClassOK:
		return 0
	case ClassAuth:
		return ExitAuth
	case ClassLogon:
		return ExitLogon
	case ClassNetwork:
		return ExitNetwork
	case ClassBusy:
		return ExitBusy
	case ClassConfiguration:
		return ExitConfiguration
	case ClassInstallation:
		return ExitInstallation
	default:
		return ExitOther
	}
}

// document is a Result in JSON.
type document struct {
	Class    Class           `json:"class"`
	HResult  string          `json:"hresult"`
	Name     string          `json:"name,omitempty"`
	Step     Step            `json:"step,omitempty"`
	TookMS   int64           `json:"took_ms"`
	Bitness  desktop.Bitness `json:"bitness,omitempty"`
	MAPI     desktop.Bitness `json:"mapi_bitness,omitempty"`
	Sentence string          `json:"sentence"`
}

// MarshalJSON writes the HRESULT as 0x8004011D and adds the sentence.
func (r Result) MarshalJSON() ([]byte, error) {
	return json.Marshal(document{
		Class: r.Class, HResult: FormatHResult(r.HResult), Name: r.Name, Step: r.Step, TookMS: r.Took.Milliseconds(),
		Bitness: r.Bitness, MAPI: r.MAPI, Sentence: r.Sentence(),
	})
}

var errNoResult = errors.New("not a result of the probe")

// UnmarshalJSON reads what MarshalJSON wrote. Name and class are worked out
// again from the HRESULT.
func (r *Result) UnmarshalJSON(text []byte) error {
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return errNoResult
	}
	hr, err := ParseHResult(d.HResult)
	took := time.Duration(d.TookMS) * time.Millisecond
	if err != nil || d.TookMS < 0 || took.Milliseconds() != d.TookMS {
		return errNoResult
	}
	*r = NewResult(d.Step, hr)
	r.Took, r.Bitness, r.MAPI = took, d.Bitness, d.MAPI
	return nil
}
