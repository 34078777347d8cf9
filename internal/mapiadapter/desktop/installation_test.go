package desktop

import "testing"

func TestOutlookAmong(t *testing.T) {
	const (
		x64 = `C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE`
		x86 = `C:\Program Files (x86)\Microsoft Office\Office16\OUTLOOK.EXE`
		dos = `C:\PROGRA~1\MICROS~1\Office16\OUTLOOK.EXE`
	)
	for _, test := range []struct {
		name       string
		candidates []string
		files      []string
		want       string
	}{
		{"none", nil, nil, ""},
		{"one", []string{x64}, []string{x64}, x64},
		{"the first that is there", []string{"", x86, x64}, []string{x64}, x64},
		{"quotes", []string{`"` + x64 + `"`}, []string{x64}, x64},
		{"variables", []string{`%ProgramFiles%\Microsoft Office\root\Office16\OUTLOOK.EXE`}, []string{x64}, x64},
		{"short names", []string{dos}, []string{dos}, dos},
		{"small letters", []string{`c:\program files\microsoft office\root\office16\outlook.exe`}, []string{x64}, `c:\program files\microsoft office\root\office16\outlook.exe`},
		{"another program", []string{`C:\tools\notepad.exe`}, []string{`C:\tools\notepad.exe`}, ""},
		{"no path", []string{`OUTLOOK.EXE`}, []string{`OUTLOOK.EXE`}, ""},
		{"a share", []string{`\\server\office\OUTLOOK.EXE`}, []string{`\\server\office\OUTLOOK.EXE`}, ""},
		{"a longer name", []string{`C:\x\NOTOUTLOOK.EXE`}, []string{`C:\x\NOTOUTLOOK.EXE`}, ""},
		{"uninstalled", []string{x64, x86}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := outlookAmong(test.candidates, fakeMachine(test.files...)); got != test.want {
				t.Errorf("outlookAmong = %q, want %q", got, test.want)
			}
		})
	}
}

func TestFoldersOfOffice(t *testing.T) {
	const want = `C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE`
	if got := clickToRunOutlook(`C:\Program Files\Microsoft Office\`); got != want {
		t.Errorf("clickToRunOutlook = %q", got)
	}
	if got := inFolder(`C:\Program Files\Microsoft Office\root\Office16`); got != want {
		t.Errorf("inFolder = %q", got)
	}
	if clickToRunOutlook("") != "" || inFolder("") != "" {
		t.Error("no folder became a path")
	}
	if got := folderOf(want); got != `C:\Program Files\Microsoft Office\root\Office16` {
		t.Errorf("folderOf = %q", got)
	}
}

func TestMigration(t *testing.T) {
	one, zero := setting{1, true}, setting{0, true}
	for _, test := range []struct {
		name string
		m    migration
		want bool
	}{
		{"nothing set", migration{}, false},
		{"by policy", migration{policyMigrates: one}, true},
		{"stopped by policy", migration{policyMigrates: zero, userMigrates: one}, false},
		{"by the person", migration{userMigrates: one}, true},
		{"by the person, forbidden", migration{userMigrates: one, policyAllows: zero}, false},
		{"by the person, forbidden by the person", migration{userMigrates: one, userAllows: zero}, false},
		{"by the person, allowed by policy", migration{userMigrates: one, policyAllows: one, userAllows: zero}, true},
		{"by policy, though forbidden", migration{policyMigrates: one, policyAllows: zero}, true},
	} {
		if got := test.m.running(); got != test.want {
			t.Errorf("%s: running = %v", test.name, got)
		}
	}
}
