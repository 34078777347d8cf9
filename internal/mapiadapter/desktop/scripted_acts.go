package desktop

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Act is one thing that happened in a world whose script is a file: a line of
// JSON in the file beside it, see ActsPath.
type Act struct {
	On       time.Time   `json:"on"`
	By       string      `json:"by"`  // which Scripted: an ID of its own
	Did      string      `json:"did"` // Did…
	Profile  string      `json:"profile,omitempty"`
	PID      uint32      `json:"pid,omitzero"`
	Does     StartScript `json:"does,omitzero"` // of start: what the script says of it
	Due      time.Time   `json:"due,omitzero"`  // of send: when a token cache is written
	ExitCode uint32      `json:"exit_code,omitzero"`
	Reason   string      `json:"reason,omitempty"` // of refuse and violate: Refused…, Violated…
}

// What an act did.
const (
	DidStart   = "start"   // Outlook was started
	DidFail    = "fail"    // it could not be
	DidRefuse  = "refuse"  // it was not
	DidViolate = "violate" // what must never be done was tried
	DidSend    = "send"
	DidNotice  = "notice"
	DidEnd     = "end" // the Outlook of the session ended
)

// scriptFile is where a Scripted reads its script and leaves what it did.
type scriptFile struct {
	path    string
	by      string
	content []byte
	read    document
	offset  int64  // of the acts that have been seen
	pending []byte // acts that are not in the file yet
}

// ActsPath is the file that what was done is appended to, for the script path.
func ActsPath(script string) string { return script + ".acts" }

// ReadActs reads what was done in the world of the script, by all processes; no
// file is nothing done.
func ReadActs(script string) ([]Act, error) {
	acts, _, err := actsFrom(ActsPath(script), 0)
	return acts, err
}

// LoadScript is the world of a script file, shared by all processes that load
// it: what one of them starts runs for the others too, also after its end. The
// file is read again when it has changed; write it beside and rename it.
//
// It is one JSON object, in which every key may be missing:
//
//	"session"          active (default), locked, disconnected, none, service
//	"in_use"           true: somebody works in the session right now
//	"host", "account", "sid"
//	"outlook"          false: none is installed
//	"bitness"          x64 (default), x86, arm64
//	"new_outlook"      true: UseNewOutlook=1
//	"migrating"        true: DoNewOutlookAutoMigration=1
//	"profiles"         a list of names; default: ["Outlook"]
//	"default_profile"  default: the first of them
//	"asks_profile"     true: PickLogonProfile=1
//	"running"          profile of an Outlook that a person has open
//	"elsewhere"        profile of one in another session
//	"sign_in_needed"   true: Outlook cannot renew without a person
//	"closed"           a number; a higher one: the person closed Outlook
//	"answered"         a number; a higher one: the person answered its window
//	"renewed"          a number; a higher one: Office wrote a token cache
//	"start"            {"does": …, "after": "5s", "exit_code": 3, "closed_after": "10m"}; does: see Connects
//	"send"             {"does": "renews" or "nothing", "after": "2s"}
//	"notice"           {"answer": "none", "ok" or "not_now", "after": "1s"}
//	"services"         {"name": {"account": "DOMAIN\\user", "bitness": "x64"}}
//
// now is the world's clock; nil is time.Now.
func LoadScript(path string, now func() time.Time) (*Scripted, error) {
	s := NewScripted(Script{}, now)
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the script: %w", err)
	}
	read, err := parseScript(path, content)
	if err != nil {
		return nil, err
	}
	number := make([]byte, 4)
	_, _ = rand.Read(number) // never fails
	s.pid = binary.LittleEndian.Uint32(number) &^ 0xF0000003
	s.file = &scriptFile{path: path, by: rand.Text()[:8], content: content, read: read}
	s.begin(read.script)
	if err := s.refresh(s.now()); err != nil {
		return nil, err
	}
	s.reseat(s.now(), s.script.Seat) // whatever was started before a logoff
	return s, s.flush()
}

// refresh takes in what changed in the files. A file that is just being written
// anew, and empty, is as before.
func (s *Scripted) refresh(now time.Time) error {
	if s.file == nil {
		return nil
	}
	if err := s.follow(); err != nil {
		return err
	}
	content, err := os.ReadFile(s.file.path)
	if err != nil {
		return fmt.Errorf("read the script: %w", err)
	}
	if len(content) == 0 || bytes.Equal(content, s.file.content) {
		return nil
	}
	read, err := parseScript(s.file.path, content)
	if err != nil {
		return err
	}
	before := s.file.read
	s.file.content, s.file.read = content, read
	s.advance(now)
	s.apply(now, read.script)
	for _, counted := range []struct {
		before, after int
		happens       func(time.Time)
	}{
		{before.closed, read.closed, s.closeHere},
		{before.answered, read.answered, s.answered},
		{before.renewed, read.renewed, s.wrote},
	} {
		if counted.after > counted.before {
			counted.happens(now)
		}
	}
	return nil
}

// follow takes in what other processes did.
func (s *Scripted) follow() error {
	acts, end, err := actsFrom(ActsPath(s.file.path), s.file.offset)
	if err != nil {
		return err
	}
	s.file.offset = end
	for _, a := range acts {
		if a.By != s.file.by {
			s.advance(a.On)
			s.other(a)
		}
	}
	return nil
}

// other is an act of another process, here.
func (s *Scripted) other(a Act) {
	same := s.here != nil && s.here.process.PID == a.PID
	switch {
	case a.Did == DidStart && s.here == nil:
		s.here = s.launch(a.On, a.Profile, a.Does)
		s.here.process.PID = a.PID
	case a.Did == DidStart && s.here.ours:
		_ = s.violated(ViolatedTwice, "Two processes have started an Outlook for the same account.")
	case a.Did == DidSend && same && !a.Due.IsZero():
		s.here.renewals = append(s.here.renewals, a.Due)
	case a.Did == DidEnd && same:
		s.gone(a.On, a.ExitCode)
	}
}

// note keeps an act for the file.
func (s *Scripted) note(a Act) {
	if s.file == nil {
		return
	}
	a.By = s.file.by
	line, err := json.Marshal(a)
	if err == nil { // it holds nothing that could fail
		s.file.pending = append(append(s.file.pending, line...), '\n')
	}
}

// record notes an act, and puts all that were noted into the file.
func (s *Scripted) record(a Act) error {
	s.note(a)
	return s.flush()
}

func (s *Scripted) flush() error {
	if s.file == nil || len(s.file.pending) == 0 {
		return nil
	}
	f, err := os.OpenFile(ActsPath(s.file.path), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = f.Write(s.file.pending)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write down what was done: %w", err)
	}
	s.file.pending = nil
	return nil
}

// actsFrom reads the acts from offset on, and says where their last whole line
// ends. A file that has become shorter is read from its beginning.
func actsFrom(path string, offset int64) (acts []Act, end int64, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read what was done: %w", err)
	}
	if offset > int64(len(data)) {
		offset = 0
	}
	data = data[offset : bytes.LastIndexByte(data, '\n')+1]
	for lines := json.NewDecoder(bytes.NewReader(data)); ; {
		var a Act
		switch err := lines.Decode(&a); {
		case errors.Is(err, io.EOF):
			return acts, offset + int64(len(data)), nil
		case err != nil:
			return nil, 0, fmt.Errorf("read what was done (%s): %w", path, err)
		}
		acts = append(acts, a)
	}
}
