package proxy

import (
	"errors"
	"io"
	"sync"
)

const (
	// maxRecorded is how much of a body is kept for a second attempt, in bytes.
	maxRecorded = 1 << 20
	// maxBeginning is how much of it the operation is looked for in.
	maxBeginning = 16 << 10
)

// errSpent is the answer to a reader whose body another one reads now, or that was
// asked to begin anew too late.
var errSpent = errors.New("the body was handed on")

// stream is a request's body that can be read from its beginning again as long as
// no more than maxRecorded bytes of it have been read: they are recorded while
// they go by, nothing is read ahead. One reader at a time is the current one; a
// read of an earlier one that is still waiting for the caller leaves what it gets
// to its successor. A nil stream is the body of a request that has none.
type stream struct {
	src   io.Reader
	touch func() // called after each read that brought something

	mu      sync.Mutex // guards what follows; not held while src is read
	idle    *sync.Cond // a read of src has ended
	reading bool       // one is under way
	head    []byte     // what was read so far; its first maxBeginning bytes where full
	total   int64      // how much was read so far
	full    bool       // more than maxRecorded: it cannot be read again
	err     error      // the end of src, io.EOF where it is a good one
	turn    int        // of the current reader
}

func newStream(src io.Reader, touch func()) *stream {
	s := &stream{src: src, touch: touch}
	s.idle = sync.NewCond(&s.mu)
	return s
}

// first is a reader from the beginning, before anything was read.
func (s *stream) first() io.ReadCloser {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn++
	return &streamReader{s: s, turn: s.turn}
}

// open is a reader from the beginning, which becomes the current one; errSpent
// where that is no longer possible. http.Transport calls it, as Request.GetBody,
// where it may send a request again over another connection.
func (s *stream) open() (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		return nil, errSpent
	}
	s.turn++
	return &streamReader{s: s, turn: s.turn}, nil
}

// repeatable reports whether open is possible.
func (s *stream) repeatable() bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.full
}

// end takes the body away from all readers. It reports whether it was read whole.
func (s *stream) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn++
	s.head, s.full = nil, true
	return s.err != nil
}

// failed is why the body ended before it was whole; nil where it did not.
func (s *stream) failed() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.err, io.EOF) {
		return nil
	}
	return s.err
}

// beginning is a copy of at most the first maxBeginning bytes read.
func (s *stream) beginning() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]byte(nil), s.head[:min(len(s.head), maxBeginning)]...)
}

// keep records what was read. What the current reader has beyond the limit is
// not kept; what an earlier one got is, as its successor has not seen it.
func (s *stream) keep(b []byte, current bool) {
	s.total += int64(len(b))
	switch {
	case s.full:
	case current && s.total > maxRecorded:
		s.full = true
		s.head = append([]byte(nil), s.head[:min(len(s.head), maxBeginning)]...)
	default:
		s.head = append(s.head, b...)
	}
}

// streamReader reads a stream from its beginning.
type streamReader struct {
	s      *stream
	turn   int
	at     int64
	closed bool // guarded by s.mu
}

// Read implements io.Reader.
func (r *streamReader) Read(p []byte) (int, error) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for r.current() {
		switch {
		case r.at < s.total:
			n := copy(p, s.head[r.at:])
			r.at += int64(n)
			return n, nil
		case s.err != nil:
			return 0, s.err
		case s.reading:
			s.idle.Wait()
		default:
			return r.readOn(p)
		}
	}
	return 0, errSpent
}

// readOn reads on in src; its error is errSpent where the reader is no longer the
// current one afterwards. The caller holds s.mu, which is free meanwhile.
func (r *streamReader) readOn(p []byte) (int, error) {
	s := r.s
	s.reading = true
	s.mu.Unlock()
	n, err := s.src.Read(p)
	s.mu.Lock()
	s.reading = false
	s.idle.Broadcast()
	current := r.current()
	s.keep(p[:n], current)
	s.err = err
	if !current {
		return 0, errSpent
	}
	r.at = s.total
	if n > 0 {
		s.touch()
	}
	return n, err
}

func (r *streamReader) current() bool { return r.turn == r.s.turn && !r.closed }

// Close ends this reader and leaves the body as it is. It does not wait for a
// read that is under way.
func (r *streamReader) Close() error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.closed = true
	return nil
}
