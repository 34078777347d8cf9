package ownerfile

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLines(t *testing.T) {
	const limit = 16 // what bufio takes at least
	long := strings.Repeat("x", limit)
	for _, tt := range []struct {
		text      string
		want      []string
		end, torn int64
	}{
		{"", nil, 0, 0},
		{"a\n\nb", []string{"a\n", "\n"}, 3, 1},
		{long[1:] + "\n" + long + "\nc\n", []string{long[1:] + "\n", "", "c\n"}, 35, 0},
		{long + long, nil, 0, 32},
	} {
		var got []string
		end, torn, err := Lines(strings.NewReader(tt.text), limit, func(line []byte) bool {
			got = append(got, string(line))
			return true
		})
		if err != nil || end != tt.end || torn != tt.torn || !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, end %d, torn %d, %v", tt.text, got, end, torn, err)
		}
	}
	end, torn, err := Lines(strings.NewReader("a\nb\nc"), limit, func([]byte) bool { return false })
	if end != 2 || torn != 0 || err != nil {
		t.Errorf("stopped: end %d, torn %d, %v", end, torn, err)
	}
	broken := errors.New("broken")
	end, _, err = Lines(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)), limit, func([]byte) bool { return true })
	if end != 2 || !errors.Is(err, broken) {
		t.Errorf("broken: end %d, %v", end, err)
	}
}
