package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"
)

// screen is the terminal that a person sits at; the zero screen is none.
type screen struct {
	width, height int
	blocks        bool // it can show Unicode's block elements
}

// any reports whether there is a terminal.
func (s screen) any() bool { return s.width > 0 }

// screenOf is the terminal that w writes to.
func screenOf(w io.Writer, getenv func(string) string) screen {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || getenv("TERM") == "dumb" {
		return screen{}
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width, height = 80, 24
	}
	return screen{width: width, height: height, blocks: runtime.GOOS == "windows" || utf8Locale(getenv)}
}

// utf8Locale reports whether the locale's character set is UTF-8 (POSIX, "8.2
// Internationalization Variables": the first one that is set decides).
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// interactive reports whether a question can be asked and answered: both
// standard input and standard error are a terminal.
func (o *options) interactive() bool {
	in, ok := o.env.stdin.(*os.File)
	return ok && term.IsTerminal(int(in.Fd())) && screenOf(o.env.stderr, o.env.getenv).any()
}

// asker asks a person, line by line.
type asker struct {
	in  *bufio.Reader
	out io.Writer
}

func (o *options) asker() *asker {
	return &asker{in: bufio.NewReader(o.env.stdin), out: o.env.stderr}
}

var errNoAnswer = errors.New("the input ended before there was an answer")

// ask prints the question and reads one line.
func (a *asker) ask(question string) (string, error) {
	fmt.Fprint(a.out, question)
	line, err := a.in.ReadString('\n')
	if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
		fmt.Fprintln(a.out)
		return "", errNoAnswer
	}
	return strings.TrimSpace(line), nil
}

// confirm asks a question of yes or no; anything but yes is no.
func (a *asker) confirm(question string) (bool, error) {
	answer, err := a.ask(question + " [y/N] ")
	if err != nil {
		return false, err
	}
	answer = strings.ToLower(answer)
	return answer == "y" || answer == "yes", nil
}
