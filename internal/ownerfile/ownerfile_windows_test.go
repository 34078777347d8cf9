package ownerfile

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// TestOpenElsewhere: a reader that has the file open delays Write and Remove and
// does not make them fail.
func TestOpenElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for name, change := range map[string]func() error{
		"write":  func() error { return Write(path, []byte("new")) },
		"remove": func() error { return Remove(path) },
	} {
		if err := Write(path, []byte("old")); err != nil {
			t.Fatal(err)
		}
		reader := open(t, path)
		time.AfterFunc(50*time.Millisecond, func() { windows.CloseHandle(reader) })
		if err := change(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOpenForLong: one that never closes it makes them fail, and the old content stays.
func TestOpenForLong(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Write(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	reader := open(t, path)
	defer windows.CloseHandle(reader)
	if err := Write(path, []byte("new")); !inUse(err) {
		t.Errorf("write: %v", err)
	}
	if err := Remove(path); !inUse(err) {
		t.Errorf("remove: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("got %q, %v", got, err)
	}
	wantFiles(t, dir, "f")
}

// The cause stays in the error, so that a caller knows a full disk.
func TestCauses(t *testing.T) {
	err := Write(filepath.Join(t.TempDir(), "no", "f"), nil)
	if !errors.Is(err, windows.ERROR_PATH_NOT_FOUND) {
		t.Errorf("got %v", err)
	}
	if err := replace("a\x00b", "c"); err == nil {
		t.Error("a name with a zero byte")
	}
	if inUse(nil) || inUse(windows.ERROR_DISK_FULL) {
		t.Error("no fault and a full disk are no files in use")
	}
}

// TestProtectDir shows that the calls fit together; what they enforce shows on
// Windows only, since Wine maps access lists to modes.
func TestProtectDir(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // gives it a list, then finds one
		if err := ProtectDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := Write(filepath.Join(dir, "f"), []byte("x")); err != nil {
		t.Error(err)
	}
	if err := ProtectDir(filepath.Join(dir, "no")); err == nil || !strings.Contains(err.Error(), "read the access list of ") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// The list names three: this user, SYSTEM and Administrators.
func TestOwnerList(t *testing.T) {
	list, err := ownerList()
	if err != nil {
		t.Fatal(err)
	}
	if list.AceCount != 3 {
		t.Errorf("%d entries", list.AceCount)
	}
}

// open opens path as a program does that lets others read only.
func open(t *testing.T, path string) windows.Handle {
	t.Helper()
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ, windows.FILE_SHARE_READ, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestDescribe reads access lists as Windows writes them, in the security
// descriptor definition language; no file is needed for that.
func TestDescribe(t *testing.T) {
	for list, want := range map[string]bool{
		"D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)":                  false,
		"D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;S-1-5-21-1-2-3-1001)": false,
		"D:(A;OICI;FA;;;SY)(A;;FR;;;WD)":                       true,
		"D:(A;OICIID;FA;;;BA)(A;OICIID;0x1200a9;;;BU)":         true,
		"D:(A;;FW;;;AU)":             true,
		"D:(A;;0x100000;;;WD)":       false, // SYNCHRONIZE alone shows nothing
		"D:(D;;FA;;;WD)(A;;FA;;;SY)": false,
	} {
		sd, err := windows.SecurityDescriptorFromString(list)
		if err != nil {
			t.Fatal(err)
		}
		s, err := describe(sd)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.judge(false) != ""; got != want {
			t.Errorf("%s: %v", list, got)
		}
	}
}

// TestAudit shows that the calls fit together, see TestProtectDir.
func TestAudit(t *testing.T) {
	var access *AccessError
	if err := Audit(t.TempDir()); err != nil && !errors.As(err, &access) {
		t.Error(err)
	}
	if access != nil && !strings.Contains(access.Command, ownSID()+":(OI)(CI)F") {
		t.Errorf("the remedy is %s", access.Command)
	}
	if err := Audit(filepath.Join(t.TempDir(), "no")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	if !strings.HasPrefix(ownSID(), "S-1-") {
		t.Errorf("we are %s", ownSID())
	}
}

// TestShareRefusesLinks needs links, which Wine 8 does not make.
func TestShareRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	elsewhere, linked := filepath.Join(dir, "elsewhere"), filepath.Join(dir, "linked")
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cmd.exe", "/c", "mklink", "/j", linked, elsewhere).CombinedOutput(); err != nil {
		t.Skipf("this Windows makes no junction: %v, %s", err, out)
	}
	if info, err := os.Lstat(linked); err != nil || info.IsDir() {
		t.Skipf("this Windows made no junction: %v, %v", info, err)
	}
	for _, path := range []string{linked, dir} {
		var access *AccessError
		if err := Share(path, Access{}); !errors.As(err, &access) || access.Path != linked {
			t.Errorf("Share(%s): %v", path, err)
		}
	}
}
