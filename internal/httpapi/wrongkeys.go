package httpapi

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/m365-token-broker/broker/internal/token"
)

// This file answers wrong keys beyond their rate. A flood brings thousands a
// second, and a right key must not wait for them: so the answer is made once, and
// each costs what a probe costs (BenchmarkWrongKey).

// wrongKeys is the problem of consumer.Registry.TooManyWrong, ready but for the
// request's ID, which stands between before and after.
type wrongKeys struct {
	err           *token.Error
	status        int
	retryAfter    []string
	before, after []byte
}

func newWrongKeys(e *token.Error) wrongKeys {
	p := ProblemOf(e)
	p.Instance = "<ID>"
	before, after, _ := bytes.Cut(encode(p), []byte(p.Instance))
	return wrongKeys{err: e, status: p.Status, retryAfter: []string{strconv.Itoa(p.RetryAfter)}, before: before, after: after}
}

// isWrongKey reports whether err is that of a wrong key beyond the rate, which is
// never within another.
func (s *Server) isWrongKey(err error) bool { return err == error(s.wrongKeys.err) } //nolint:errorlint // see above

// failWrongKey is fail for such an error.
func (s *Server) failWrongKey(w http.ResponseWriter, r *http.Request) {
	known, id := &s.wrongKeys, requestID(w)
	s.log(r.Context(), id, known.status, known.err)
	s.refused(r, known.err.Kind, id)
	body := make([]byte, 0, len(known.before)+len(id)+len(known.after))
	body = append(append(append(body, known.before...), id...), known.after...)
	w.Header()["Retry-After"] = known.retryAfter
	sendProblem(w, known.status, body)
}
