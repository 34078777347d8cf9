package proxy

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func again(t *testing.T, s *stream) io.ReadCloser {
	t.Helper()
	r, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStreamFromTheBeginning(t *testing.T) {
	for _, n := range []int{0, 1, 100, maxRecorded} {
		text := strings.Repeat("x", n)
		s := newStream(iotest.DataErrReader(strings.NewReader(text)), func() {})
		if got := readAll(t, s.first()); got != text {
			t.Fatalf("%d bytes of %d", len(got), n)
		}
		for range 2 {
			if got := readAll(t, again(t, s)); got != text {
				t.Fatalf("again: %d bytes of %d", len(got), n)
			}
		}
		if s.failed() != nil || !s.repeatable() || len(s.beginning()) != min(n, maxBeginning) || !s.end() || s.repeatable() {
			t.Errorf("%d: not well", n)
		}
	}
}

// What is larger than the limit is read once, and nothing of it is kept but its
// beginning.
func TestStreamTooLarge(t *testing.T) {
	text := strings.Repeat("y", maxRecorded+1)
	s := newStream(strings.NewReader(text), func() {})
	r := s.first()
	if got := readAll(t, r); got != text {
		t.Fatalf("%d bytes", len(got))
	}
	if _, err := s.open(); !errors.Is(err, errSpent) || s.repeatable() {
		t.Errorf("it can be read again: %v", err)
	}
	if len(s.head) != maxBeginning || cap(s.head) > 2*maxBeginning {
		t.Errorf("%d bytes of %d are kept", len(s.head), cap(s.head))
	}
}

// A body of which only a part was read when the resource refused it is sent from
// the beginning, and then goes on as it comes.
func TestStreamHalfRead(t *testing.T) {
	big := bytes.Repeat([]byte("z"), maxRecorded)
	s := newStream(io.MultiReader(strings.NewReader("head "), bytes.NewReader(big)), func() {})
	old := s.first()
	if n, err := io.ReadFull(old, make([]byte, 5)); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	r := again(t, s)
	if _, err := old.Read(make([]byte, 1)); !errors.Is(err, errSpent) {
		t.Errorf("the reader before reads on: %v", err)
	}
	if got := readAll(t, r); len(got) != 5+len(big) || !strings.HasPrefix(got, "head zz") {
		t.Errorf("%d bytes", len(got))
	}
}

// A read that waits for the caller when its reader is replaced leaves what comes
// to its successor.
func TestStreamReadUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, caller := io.Pipe()
		s := newStream(src, func() {})
		old := s.first()
		lost := make(chan error, 1)
		go func() {
			n, err := old.Read(make([]byte, 100))
			if n != 0 {
				err = errors.New("it got something")
			}
			lost <- err
		}()
		synctest.Wait()
		r := again(t, s)
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 1)
		go func() { b, _ := io.ReadAll(r); got <- string(b) }()
		synctest.Wait()
		for _, text := range []string{"one ", "two ", "three"} {
			if _, err := io.WriteString(caller, text); err != nil {
				t.Fatal(err)
			}
		}
		_ = caller.Close()
		if text, err := <-got, <-lost; text != "one two three" || !errors.Is(err, errSpent) {
			t.Errorf("got %q, %v", text, err)
		}
	})
}

func TestStreamThatBreaks(t *testing.T) {
	s := newStream(io.MultiReader(strings.NewReader("part"), iotest.ErrReader(io.ErrUnexpectedEOF)), func() {})
	if _, err := io.ReadAll(s.first()); !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(s.failed(), io.ErrUnexpectedEOF) {
		t.Errorf("%v, %v", err, s.failed())
	}
	var none *stream
	if none.failed() != nil || !none.repeatable() {
		t.Error("a request without a body cannot be repeated")
	}
}
