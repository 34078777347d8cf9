// Package outlooktest plays Outlook for tests: a copy of the test's own program
// under the name OUTLOOK.EXE, which does what its Knobs say.
package outlooktest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	programName = "OUTLOOK.EXE"
	knobsName   = "outlook.json" // beside the program
)

// Knobs is what a stand-in does.
type Knobs struct {
	Life time.Duration `json:"life"` // then it ends by itself; zero: a minute
	COM  *COM          `json:"com"`  // nil: nothing is registered
}

// Main is the TestMain of a package that plays Outlook: it runs the tests, or,
// under the name OUTLOOK.EXE, the stand-in.
func Main(m *testing.M) {
	if !strings.EqualFold(filepath.Base(os.Args[0]), programName) {
		os.Exit(m.Run()) //nolint:forbidigo // this is the main function of a test's program
	}
	if err := playOutlook(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // as above
	}
}

// Install puts a stand-in with these knobs into a folder of its own, and returns
// the path of its program.
func Install(t testing.TB, k Knobs) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, programName)
	if err := copyFile(program, self); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, knobsName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return program
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// playOutlook is the stand-in's life.
func playOutlook() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(program), knobsName))
	if err != nil {
		return err
	}
	var k Knobs
	if err := json.Unmarshal(text, &k); err != nil {
		return err
	}
	if k.Life == 0 {
		k.Life = time.Minute
	}
	stop := make(chan struct{})
	time.AfterFunc(k.Life, func() { close(stop) })
	if k.COM != nil {
		return k.COM.Serve(stop)
	}
	<-stop
	return nil
}
