package mapiprobe

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// A probe that hangs is ended, and nothing else is: not a process beside it that
// runs the same program, and not what the probe itself has started.
func TestRunEndsTheProbeOnly(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	beside := exec.Command(exe)
	beside.Env = append(os.Environ(), actAs+"=hang")
	if err := beside.Start(); err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(t.TempDir(), "child")
	t.Setenv(noteIn, note)
	var probe windows.Handle
	noting := func(cmd *exec.Cmd) (func(), error) {
		release, err := startOnLeash(cmd)
		if err == nil {
			err = cmd.Process.WithHandle(func(h uintptr) {
				self := windows.CurrentProcess()
				err = windows.DuplicateHandle(self, windows.Handle(h), self, &probe, 0, false, windows.DUPLICATE_SAME_ACCESS)
			})
		}
		return release, err
	}
	found, err := runAs(t, "parent", runner{limit: 6 * time.Second, start: noting}) // time enough to start its child
	if err != nil || found.HResult != HResultNoAnswer {
		t.Errorf("%+v, %v", found, err)
	}
	if !ended(t, probe) {
		t.Error("the probe still runs")
	}
	if beside.Process.Signal(os.Kill) != nil {
		t.Error("a process beside the probe was ended too")
	}
	_ = beside.Wait()
	endChild(t, note)
}

func ended(t *testing.T, h windows.Handle) bool {
	t.Helper()
	defer windows.CloseHandle(h)
	e, err := windows.WaitForSingleObject(h, 5000)
	if err != nil {
		t.Fatal(err)
	}
	return e == windows.WAIT_OBJECT_0
}

// The job's end is the probe's end: so it is when this process ends in whatever
// way, as Windows then closes the last handle to the job.
func TestLeashEndsTheProbe(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), actAs+"=hang")
	release, err := startOnLeash(cmd)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if _, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok && cmd.ProcessState == nil {
		t.Error("the probe outlived its leash")
	}
}
