package desktop

import (
	"strings"
	"testing"
)

// fakeMachine has the files named, and expands %SystemRoot% and %ProgramFiles%.
func fakeMachine(files ...string) machine {
	return machine{
		root: `C:\Windows`,
		expand: func(s string) string {
			return strings.NewReplacer("%SystemRoot%", `C:\Windows`, "%systemroot%", `C:\Windows`, "%ProgramFiles%", `C:\Program Files`).Replace(s)
		},
		exists: func(path string) bool {
			for _, f := range files {
				if strings.EqualFold(f, path) {
					return true
				}
			}
			return false
		},
	}
}

func TestServiceProgram(t *testing.T) {
	const (
		plain  = `C:\mail\mapisvc.exe`
		spaces = `C:\Program Files\Mail Gateway\mapisvc.exe`
		host   = `C:\Windows\system32\svchost.exe`
		short  = `C:\Program.exe`
	)
	for _, test := range []struct {
		name, imagePath, want string
		files                 []string
	}{
		{"plain", plain, plain, []string{plain}},
		{"arguments", plain + ` -service /x`, plain, []string{plain}},
		{"quoted", `"` + spaces + `"`, spaces, []string{spaces}},
		{"quoted with arguments", `"` + spaces + `" --run "a b"`, spaces, []string{spaces}},
		{"not quoted", spaces + ` --run`, spaces, []string{spaces}},
		{"the first program that is there, as Windows does it", spaces, short, []string{spaces, short}},
		{"a tab", plain + "\t-x", plain, []string{plain}},
		{"variable", `%SystemRoot%\system32\svchost.exe -k netsvcs`, host, []string{host}},
		{"variable in quotes", `"%ProgramFiles%\Mail Gateway\mapisvc.exe" -x`, spaces, []string{spaces}},
		{"kernel's root", `\SystemRoot\System32\svchost.exe`, `C:\Windows\System32\svchost.exe`, []string{host}},
		{"kernel's prefix", `\??\` + plain, plain, []string{plain}},
		{"relative to Windows", `system32\svchost.exe -k x`, host, []string{host}},
		{"no extension", `C:\mail\mapisvc -x`, plain, []string{plain}},
		{"slashes", `C:/mail/mapisvc.exe`, plain, []string{plain}},
		{"share", `\\server\share\svc.exe`, `\\server\share\svc.exe`, []string{`\\server\share\svc.exe`}},
		{"blanks around", `  ` + plain + `  `, plain, []string{plain}},
		{"gone", plain, "", nil},
		{"relative", `mapisvc.exe`, "", []string{`mapisvc.exe`}},
		{"drive without a root", `C:mapisvc.exe`, "", []string{`C:mapisvc.exe`}},
		{"open quote", `"` + plain, "", []string{plain}},
		{"device", `\\.\pipe\x.exe`, "", []string{`\\.\pipe\x.exe`}},
		{"empty", "", "", nil},
		{"quotes only", `""`, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := serviceProgram(test.imagePath, fakeMachine(test.files...)); got != test.want {
				t.Errorf("serviceProgram(%q) = %q, want %q", test.imagePath, got, test.want)
			}
		})
	}
}

// Whatever the registry holds: the program is an absolute path of a file that
// is there.
func FuzzServiceProgram(f *testing.F) {
	for _, seed := range []string{
		`"C:\Program Files\a b\c.exe" -x`, `C:\Program Files\a b\c -x`, `%SystemRoot%\system32\svchost.exe -k n`,
		`\SystemRoot\x.sys`, `\??\C:\x.exe`, `system32\drivers\x.sys`, `"`, `""`, ` `, "C:\\", `\\`, `\\?\C:\x`, "C:\\a\x00b.exe", "\xff\xfe",
	} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, imagePath string, which int) {
		asked := 0
		m := fakeMachine()
		last := ""
		m.exists = func(path string) bool {
			asked++
			last = path
			return asked == which
		}
		got := serviceProgram(imagePath, m)
		if got == "" {
			return
		}
		if got != last || !absolute(got) {
			t.Errorf("serviceProgram(%q) = %q, which is not the file %q that is there", imagePath, got, last)
		}
	})
}
