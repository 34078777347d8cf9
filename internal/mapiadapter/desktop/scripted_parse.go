package desktop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// document is a script file.
type document struct {
	script                    Script
	closed, answered, renewed int
}

// scriptJSON is the form of a script file.
type scriptJSON struct {
	Session        Seat                   `json:"session"`
	InUse          bool                   `json:"in_use"`
	Host           string                 `json:"host"`
	Account        string                 `json:"account"`
	SID            string                 `json:"sid"`
	Outlook        *bool                  `json:"outlook"`
	Bitness        Bitness                `json:"bitness"`
	NewOutlook     bool                   `json:"new_outlook"`
	Migrating      bool                   `json:"migrating"`
	Profiles       []string               `json:"profiles"`
	DefaultProfile string                 `json:"default_profile"`
	AsksProfile    bool                   `json:"asks_profile"`
	Running        string                 `json:"running"`
	Elsewhere      string                 `json:"elsewhere"`
	SignInNeeded   bool                   `json:"sign_in_needed"`
	Closed         int                    `json:"closed"`
	Answered       int                    `json:"answered"`
	Renewed        int                    `json:"renewed"`
	Start          startJSON              `json:"start"`
	Send           sendJSON               `json:"send"`
	Notice         noticeJSON             `json:"notice"`
	Services       map[string]serviceJSON `json:"services"`
}

type startJSON struct {
	Does        Doing  `json:"does"`
	After       string `json:"after"`
	ExitCode    uint32 `json:"exit_code"`
	ClosedAfter string `json:"closed_after"`
}

type sendJSON struct {
	Does  Doing  `json:"does"`
	After string `json:"after"`
}

type noticeJSON struct {
	Answer Answer `json:"answer"`
	After  string `json:"after"`
}

type serviceJSON struct {
	Account string  `json:"account"`
	Bitness Bitness `json:"bitness"`
}

// scriptKeys are the keys of each object of a script file. "*" is any name.
var scriptKeys = map[string][]string{
	"": {
		"session", "in_use", "host", "account", "sid", "outlook", "bitness", "new_outlook", "migrating", "profiles",
		"default_profile", "asks_profile", "running", "elsewhere", "sign_in_needed", "closed", "answered", "renewed",
		"start", "send", "notice", "services",
	},
	"start":      {"does", "after", "exit_code", "closed_after"},
	"send":       {"does", "after"},
	"notice":     {"answer", "after"},
	"services":   {"*"},
	"services.*": {"account", "bitness"},
}

// scriptReader reads one script file; its errors name the file, the line and the
// key.
type scriptReader struct {
	path  string
	data  []byte
	lines map[string]int // of each key
	err   error          // the first
}

// parseScript reads the content of the script file path.
func parseScript(path string, data []byte) (document, error) {
	r := &scriptReader{path: path, data: data, lines: map[string]int{}}
	var whole json.RawMessage
	var form scriptJSON
	err := json.Unmarshal(data, &whole) // its syntax; how deep it may go is json's limit
	if err == nil {
		err = r.keys(json.NewDecoder(bytes.NewReader(data)), "", "")
	}
	if err == nil {
		err = json.Unmarshal(data, &form)
	}
	if err != nil {
		return document{}, r.wrong(err)
	}
	read := document{script: r.script(form), closed: form.Closed, answered: form.Answered, renewed: form.Renewed}
	return read, r.err
}

// script is the form with every value looked at.
func (r *scriptReader) script(form scriptJSON) Script {
	seats := []Seat{SeatActive, SeatLocked, SeatDisconnected, SeatNobody, SeatService}
	bitnesses := []Bitness{X86, X64, ARM64}
	oneOf(r, "session", form.Session, seats)
	oneOf(r, "bitness", form.Bitness, bitnesses)
	oneOf(r, "start.does", form.Start.Does, startDoings())
	oneOf(r, "send.does", form.Send.Does, []Doing{Renews, SendsNothing})
	oneOf(r, "notice.answer", form.Notice.Answer, []Answer{AnswerNone, AnswerOK, AnswerNotNow})
	c := Script{
		Host: form.Host, Account: form.Account, SID: form.SID,
		Seat: form.Session, InUse: form.InUse, NoOutlook: form.Outlook != nil && !*form.Outlook,
		Installation: Installation{Bitness: form.Bitness, NewInUse: form.NewOutlook, Migrating: form.Migrating},
		Profiles:     Profiles{Names: form.Profiles, Default: form.DefaultProfile, Asks: form.AsksProfile},
		Services:     map[string]Service{},
		Running:      form.Running, Elsewhere: form.Elsewhere, SignInNeeded: form.SignInNeeded,
		Start: StartScript{
			Does: form.Start.Does, After: r.duration("start.after", form.Start.After),
			ExitCode: form.Start.ExitCode, ClosedAfter: r.duration("start.closed_after", form.Start.ClosedAfter),
		},
		Send:   SendScript{Does: form.Send.Does, After: r.duration("send.after", form.Send.After)},
		Notice: NoticeScript{Answer: form.Notice.Answer, After: r.duration("notice.after", form.Notice.After)},
	}
	for name, service := range form.Services {
		oneOf(r, "services."+name+".bitness", service.Bitness, bitnesses)
		c.Services[name] = Service(service)
	}
	return c
}

// keys walks one value, and notes the line of every key that may be there. known
// is path as it is in scriptKeys.
func (r *scriptReader) keys(values *json.Decoder, path, known string) error {
	token, err := values.Token()
	if err != nil {
		return err
	}
	if path == "" && token != json.Delim('{') {
		return r.fault(1, "", "is no JSON object")
	}
	switch token {
	case json.Delim('['):
		for values.More() {
			if err := r.keys(values, path+"[]", known+"[]"); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		for values.More() {
			if err := r.key(values, path, known); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = values.Token()
	return err
}

// key walks one key and its value.
func (r *scriptReader) key(values *json.Decoder, path, known string) error {
	token, err := values.Token()
	if err != nil {
		return err
	}
	name := fmt.Sprint(token)
	line := r.line(values.InputOffset())
	child, knownChild := join(path, name), join(known, name)
	allowed, object := scriptKeys[known]
	switch {
	case !object: // what should hold no object; its type is looked at later
	case slices.Contains(allowed, "*"):
		knownChild = join(known, "*")
	case !slices.Contains(allowed, name):
		return r.fault(line, child, "is no key of a script; there are "+strings.Join(allowed, ", "))
	}
	if before, twice := r.lines[child]; twice && object {
		return r.fault(line, child, fmt.Sprintf("is there twice, first on line %d", before))
	}
	r.lines[child] = line
	return r.keys(values, child, knownChild)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// oneOf notes a value that is none of those that there are. An empty one is the
// default.
func oneOf[T ~string](r *scriptReader, key string, value T, values []T) {
	if value == "" || slices.Contains(values, value) || r.err != nil {
		return
	}
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	r.err = r.fault(r.lines[key], key, fmt.Sprintf("is %q, which is none of %s", string(value), strings.Join(names, ", ")))
}

func (r *scriptReader) duration(key, value string) time.Duration {
	if value == "" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if (err != nil || d < 0) && r.err == nil {
		r.err = r.fault(r.lines[key], key, fmt.Sprintf(`is %q, which is no time such as "5s" or "1h30m"`, value))
	}
	return d
}

// wrong is an error of the JSON package with its line.
func (r *scriptReader) wrong(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return r.fault(r.line(syntax.Offset), "", "is no JSON: "+syntax.Error())
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return r.fault(r.line(kind.Offset), kind.Field, fmt.Sprintf("is a %s; it has to be a %s", kind.Value, kind.Type.Kind()))
	}
	return err
}

// line is the line of an offset, from 1.
func (r *scriptReader) line(offset int64) int {
	return 1 + bytes.Count(r.data[:min(offset, int64(len(r.data)))], []byte("\n"))
}

func (r *scriptReader) fault(line int, key, problem string) error {
	if key == "" {
		return fmt.Errorf("the script %s:%d %s", r.path, line, problem)
	}
	return fmt.Errorf("the script %s:%d: %s %s", r.path, line, key, problem)
}
