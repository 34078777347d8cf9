package main

import "testing"

// message puts one length-delimited field around its parts.
func message(number byte, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append([]byte{number<<3 | 2, byte(len(body))}, body...)
}

func TestCountSpans(t *testing.T) {
	span := message(2, []byte{0x0a, 1, 'x'})
	request := append(
		message(1, message(1), message(2, message(1), span, span)),
		message(1, message(2, span), message(3))...)
	if n := countSpans(request); n != 3 {
		t.Errorf("countSpans = %d, want 3", n)
	}
	if n := countSpans(request[:len(request)-1]); n > 3 {
		t.Errorf("countSpans of a cut request = %d", n)
	}
}
