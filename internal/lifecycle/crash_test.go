package lifecycle

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A crash of a process is told by the next one, without what could be secret.
func TestKeepCrashes(t *testing.T) {
	path := filepath.Join(os.Getenv("BROKER_TEST_CRASH"), "logs", "crash.txt")
	if os.Getenv("BROKER_TEST_CRASH") != "" {
		if _, err := KeepCrashes(path); err != nil {
			t.Fatal(err)
		}
		crashWith([4]uint64{0x5ec2e7, 1, 2, 3})
	}
	dir := t.TempDir()
	path = filepath.Join(dir, "logs", "crash.txt")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKeepCrashes$")
	cmd.Env = append(os.Environ(), "BROKER_TEST_CRASH="+dir)
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Fatalf("it did not crash: %s", out)
	}
	raw, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(raw), "a secret text") {
		t.Fatalf("the runtime wrote %q, %v", raw, err)
	}
	got := cleanCrash(string(raw))
	for _, want := range []string{"panic: (its text is left out)", "crashWith.func1(...)", "crash_test.go"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "secret") || strings.Contains(got, "5ec2e7") {
		t.Errorf("too much is told:\n%s", got)
	}
}

//go:noinline
func crashWith(secret [4]uint64) {
	done := make(chan struct{})
	go func() { panic("a secret text\ngoroutine of a secret: " + string(rune(secret[0]%26+'a'))) }()
	<-done
}

func TestCleanCrash(t *testing.T) {
	raw := "fatal error: concurrent map writes\n\ngoroutine 7 [running]:\nmain.f({0x1, 0x2})\n\t/src/f.go:7 +0x1d\ncreated by main.main in goroutine 1\n\t/src/f.go:3 +0x25\n\nrax    0x5ec2e7\n"
	want := "fatal error: concurrent map writes\ngoroutine 7 [running]:\nmain.f(...)\n\t/src/f.go:7 +0x1d\ncreated by main.main in goroutine 1\n\t/src/f.go:3 +0x25"
	if got := cleanCrash(raw); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := cleanCrash(""); got != "" {
		t.Error(got)
	}
}
