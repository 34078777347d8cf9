package desktop

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop/outlooktest"
)

func TestLeaveJob(t *testing.T) {
	const kill, may, silent = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK, windows.JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK
	for _, test := range []struct {
		name   string
		in     bool
		limits uint32
		leave  bool
		stay   string
	}{
		{"no job", false, 0, false, ""},
		{"harmless", true, 0, true, ""},
		{"leaves by itself", true, kill | silent, false, RefusedJob},
		{"may leave", true, kill | may, true, RefusedJob},
		{"ends with us", true, kill, true, RefusedJob},
	} {
		if got := leaveJob(test.in, test.limits) == windows.CREATE_BREAKAWAY_FROM_JOB; got != test.leave {
			t.Errorf("%s: leaveJob = %v", test.name, got)
		}
		if err := stayInJob(test.limits); refusal(err) != test.stay {
			t.Errorf("%s: stayInJob = %v", test.name, err)
		}
	}
}

// limitsVariable makes a copy of this program TestInJob's other process.
const limitsVariable = "DESKTOP_TEST_JOB_LIMITS"

// An Outlook that was started from a job which ends with us outlives us. That
// nothing is started where it could not is in TestLeaveJob only: Wine does not tell
// a job's limits.
func TestInJob(t *testing.T) {
	const kill = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	for _, test := range []struct {
		name   string
		limits uint32
	}{
		{"may leave", kill | windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK},
		{"leaves by itself", kill | windows.JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := outlooktest.Plant(t, outlooktest.Setup{})
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			command := exec.Command(self, "-test.run=^TestStartFromJob$", "-test.v")
			command.Env = append(os.Environ(), limitsVariable+"="+strconv.FormatUint(uint64(test.limits), 10))
			out, err := command.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "outcome: started\n") {
				t.Fatalf("%v, and it said:\n%s", err, out)
			}
			if running := look(t, open(t, o)).Processes; len(running) != 1 {
				t.Errorf("after the end of the one that started it: %+v", running)
			}
		})
	}
}

// TestStartFromJob is the other process: it puts itself into a job, starts
// Outlook, and ends. In the tests' own process it does nothing.
func TestStartFromJob(t *testing.T) {
	limits, err := strconv.ParseUint(os.Getenv(limitsVariable), 10, 32)
	if err != nil {
		return
	}
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	info := &windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	info.BasicLimitInformation.LimitFlags = uint32(limits)
	set := kernel32.NewProc("SetInformationJobObject")
	if ok, _, err := set.Call(uintptr(job), windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(info)), unsafe.Sizeof(*info)); ok == 0 {
		t.Fatal(err)
	}
	if err := windows.AssignProcessToJobObject(job, windows.CurrentProcess()); err != nil {
		t.Fatal(err)
	}
	if in, got := jobLimits(); !in || got != uint32(limits) && !outlooktest.OnWine() {
		t.Errorf("jobLimits = %v, %#x, want %#x", in, got, limits)
	}
	outcome := "started"
	if _, err := open(t, nil).Start(t.Context(), "Outlook"); err != nil {
		outcome = refusal(err)
	}
	fmt.Printf("outcome: %s\n", outcome)
}
