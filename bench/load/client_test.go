package main

import (
	"bufio"
	"strings"
	"testing"
)

func TestReadAnswer(t *testing.T) {
	const next = "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct {
		in string
		ok bool
	}{
		"a body":    {"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc" + next, true},
		"refused":   {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n" + next, false},
		"chunked":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + next, false},
		"cut short": {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(c.in))
			if err := readAnswer(r); (err == nil) != c.ok {
				t.Fatalf("readAnswer = %v", err)
			}
			if rest, _ := r.ReadString('\n'); c.ok && rest != next {
				t.Errorf("the next answer begins with %q", rest)
			}
		})
	}
}
