package config

import (
	"testing"

	"golang.org/x/sys/windows"
)

// Who may write is read from lists in the security descriptor definition language;
// no file is needed for that.
func TestEverybodyMayWrite(t *testing.T) {
	for list, want := range map[string]bool{
		"D:(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;BU)": false,
		"D:(A;;FA;;;S-1-5-21-1-2-3-1001)":        false,
		"D:(D;;FA;;;WD)(A;;FA;;;SY)":             false,
		"D:(A;;FA;;;WD)":                         true,
		"D:(A;;FW;;;BU)":                         true,
		"D:(A;;WD;;;AU)":                         true,
		"D:(A;;FA;;;IU)":                         true,
		"D:(A;;FA;;;S-1-5-21-7-8-9-513)":         true,
	} {
		sd, err := windows.SecurityDescriptorFromString(list)
		if err != nil {
			t.Fatal(err)
		}
		if got := everybodyMayWrite(sd); got != want {
			t.Errorf("%s: %v", list, got)
		}
	}
}
