package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Event is what a line is about. Programs are built on the words: add to them,
// never change one.
type Event string

// The events. Those of an administrator, such as "consumer.added", are named by
// whoever records them.
const (
	TokenIssued     Event = "token.issued"             // a consumer got this token for the first time
	TokenRepeated   Event = "token.repeated"           // it got the same one again, Count times
	RequestRefused  Event = "request.refused"          // a request got nothing
	RefusedRepeated Event = "request.refused.repeated" // the same was refused again, Count times
	PolicyChanged   Event = "policy.changed"           // other settings are in force
	BrokerStarted   Event = "broker.started"
	BrokerStopped   Event = "broker.stopped"
	Lost            Event = "audit.lost"   // Count lines could not be written
	Torn            Event = "audit.torn"   // a crash had cut off the end; Detail names the file that it is in now
	Pruned          Event = "audit.pruned" // older files were removed: the log begins with line Begins
	Damaged         Event = "audit.damaged"
)

// Record is what happened, as it is told to a Log and as it stands in a line.
// What is empty is left out.
type Record struct {
	Event    Event  `json:"event"`
	Consumer string `json:"consumer,omitempty"` // who asked; "admin" is the admin key
	Subject  string `json:"subject,omitempty"`  // the consumer that it was done to
	// Account is the account's name where a Log is told, and its keyed hash in a line.
	Account   string   `json:"account,omitempty"`
	Resource  string   `json:"resource,omitempty"`
	Outcome   string   `json:"outcome,omitempty"` // ok, or the code of a problem of the API
	Flow      string   `json:"flow,omitempty"`    // of a sign-in
	Route     string   `json:"route,omitempty"`   // method and pattern, or which rule of the gate
	RequestID string   `json:"request_id,omitempty"`
	Count     int64    `json:"count,omitempty"`
	Keys      []string `json:"keys,omitempty"`   // of the settings that changed
	Detail    string   `json:"detail,omitempty"` // of an audit.… event, for a person
}

// Line is one line of the log.
type Line struct {
	Time Stamp  `json:"time"`
	Seq  uint64 `json:"seq"` // from 1, without a gap
	Record
	Begins uint64 `json:"begins,omitempty"` // of audit.pruned: Seq of the first line that is left
	Start  string `json:"start,omitempty"`  // of audit.pruned: that line's Prev
	Prev   string `json:"prev"`             // Hash of the line before; of the first one 64 zeros
	// Hash is the SHA-256, in lower-case hex, of the line's bytes before ,"hash":
	// and it is the line's last member.
	Hash string `json:"hash"`
}

// Stamp is a moment, in UTC and to the millisecond.
type Stamp struct{ time.Time }

const stampLayout = "2006-01-02T15:04:05.000Z"

// MarshalJSON is RFC 3339 with three digits of the second.
func (s Stamp) MarshalJSON() ([]byte, error) {
	return []byte(s.UTC().Format(`"` + stampLayout + `"`)), nil
}

// UnmarshalJSON takes what MarshalJSON gives.
func (s *Stamp) UnmarshalJSON(b []byte) (err error) {
	s.Time, err = time.Parse(`"`+stampLayout+`"`, string(b))
	return err
}

// String is the line as it stands in the file, without its newline.
func (l Line) String() string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(l) // texts, numbers and a time cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}

// Bounds of a line, in bytes.
const (
	maxLine = 64 << 10 // with its newline; a longer one is none of ours
	maxText = 256      // of each text in it
	maxKeys = 64       // of settings; the last one then says how many more there are
)

// noHash is what the first line of a log is chained to.
const noHash = "0000000000000000000000000000000000000000000000000000000000000000"

const (
	hashBegin = `,"hash":"`
	hashEnd   = "\"}"
	hashLen   = 2 * sha256.Size
	tailLen   = len(hashBegin) + hashLen + len(hashEnd)
)

// encode fills in the hash of l and gives its bytes, newline included.
func encode(l *Line) ([]byte, error) {
	l.Hash = ""
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, err
	}
	end := hashBegin + hashEnd + "\n" // the empty hash is the last member
	content, ok := bytes.CutSuffix(b.Bytes(), []byte(end))
	if !ok {
		return nil, errors.New("the hash does not end the line") // a defect of ours
	}
	l.Hash = hashOf(content)
	line := append(content, hashBegin+l.Hash+hashEnd+"\n"...)
	if len(line) > maxLine {
		return nil, fmt.Errorf("a line of %d bytes is too long", len(line))
	}
	return line, nil
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// decode reads a line, without its newline. Its error says why it is none of
// ours, or not as it was written.
func decode(b []byte) (Line, error) {
	var l Line
	if len(b) <= tailLen || len(b) >= maxLine {
		return l, errors.New("it has no hash at its end")
	}
	content, tail := b[:len(b)-tailLen], b[len(b)-tailLen:]
	hash, ok := bytes.CutPrefix(tail, []byte(hashBegin))
	if ok {
		hash, ok = bytes.CutSuffix(hash, []byte(hashEnd))
	}
	if !ok {
		return l, errors.New("it has no hash at its end")
	}
	if hashOf(content) != string(hash) {
		return l, errors.New("its hash does not fit it")
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, errors.New("it is not JSON of a line")
	}
	if l.Hash != string(hash) || l.Seq == 0 || len(l.Prev) != hashLen {
		return l, errors.New("it is not complete")
	}
	return l, nil
}

// plain is r with nothing in its texts that is too long or no text.
func plain(r Record) Record {
	r.Event = Event(clip(string(r.Event)))
	for _, s := range []*string{&r.Consumer, &r.Subject, &r.Account, &r.Resource, &r.Outcome, &r.Flow, &r.Route, &r.RequestID, &r.Detail} {
		*s = clip(*s)
	}
	if more := len(r.Keys) - maxKeys + 1; more > 1 {
		r.Keys = append(append([]string(nil), r.Keys[:maxKeys-1]...), fmt.Sprintf("and %d more", more))
	}
	for i, k := range r.Keys {
		r.Keys[i] = clip(k)
	}
	return r
}

func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}
