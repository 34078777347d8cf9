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
	newName     = "olk.exe"
	knobsName   = "outlook.json" // beside the program
)

// Knobs is what a stand-in does.
type Knobs struct {
	Life     time.Duration `json:"life"`      // then it ends by itself; zero: a minute
	Code     uint32        `json:"code"`      // what it ends with: a crash is 0xC0000005
	HandOver bool          `json:"hand_over"` // it starts a copy of itself as olk.exe and ends, as with UseNewOutlook
	Writes   []Write       `json:"writes"`    // files that it writes while it lives
	COM      *COM          `json:"com"`       // nil: nothing is registered
	Windows  []Window      `json:"windows"`   // what it shows, one after the other
}

// Write is a file that the stand-in writes.
type Write struct {
	Path  string        `json:"path"`  // below Outlook.Local, where Plant installs it
	After time.Duration `json:"after"` // since its start
}

// Main is the TestMain of a package that plays Outlook: it runs the tests, or,
// under the name OUTLOOK.EXE or olk.exe, the stand-in.
func Main(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if !strings.EqualFold(name, programName) && !strings.EqualFold(name, newName) {
		os.Exit(m.Run()) //nolint:forbidigo // this is the main function of a test's program
	}
	code, err := playOutlook(strings.EqualFold(name, newName))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(int(code)) //nolint:forbidigo // as above
}

// Install puts a stand-in with these knobs into a folder of its own, and returns
// the path of its program. Nothing in the registry leads to it: see Plant.
func Install(t testing.TB, k Knobs) string {
	t.Helper()
	return installIn(t, t.TempDir(), k)
}

func installIn(t testing.TB, dir string, k Knobs) string {
	t.Helper()
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

// playOutlook is the stand-in's life. It returns the code to end with.
func playOutlook(isNew bool) (uint32, error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	dir := filepath.Dir(program)
	text, err := os.ReadFile(filepath.Join(dir, knobsName))
	if err != nil {
		return 0, err
	}
	var k Knobs
	if err := json.Unmarshal(text, &k); err != nil {
		return 0, err
	}
	if err := record(dir, isNew); err != nil {
		return 0, err
	}
	if isNew {
		k = Knobs{Life: k.Life, Code: k.Code}
	}
	if k.HandOver {
		return k.Code, handOver(program)
	}
	if k.Life == 0 {
		k.Life = time.Minute
	}
	for _, w := range k.Writes {
		time.AfterFunc(w.After, func() { _ = os.WriteFile(w.Path, []byte("token"), 0o600) }) // the test sees that it is not there
	}
	if len(k.Windows) > 0 {
		go show(k.Windows)
	}
	stop := make(chan struct{})
	time.AfterFunc(k.Life, func() { close(stop) })
	if k.COM != nil {
		return k.Code, k.COM.Serve(stop)
	}
	<-stop
	return k.Code, nil
}

// handOver starts a copy of the program as new Outlook.
func handOver(program string) error {
	other := filepath.Join(filepath.Dir(program), newName)
	if err := copyFile(other, program); err != nil {
		return err
	}
	p, err := os.StartProcess(other, []string{other}, &os.ProcAttr{Files: []*os.File{nil, nil, nil}})
	if err != nil {
		return err
	}
	return p.Release()
}
