package config

import (
	"strings"
	"testing"
	"time"
)

// moment is one of a week that began on Sunday, 2026-11-22.
func moment(t *testing.T, text string) time.Time {
	t.Helper()
	day, clock, _ := strings.Cut(text, " ")
	when, err := time.Parse("15:04:05", clock)
	if err != nil {
		t.Fatal(err)
	}
	for d := range 7 {
		if weekdays[d] == day {
			return time.Date(2026, 11, 22+d, when.Hour(), when.Minute(), when.Second(), 0, time.UTC)
		}
	}
	t.Fatalf("no day %q", day)
	return time.Time{}
}

func TestHours(t *testing.T) {
	tests := []struct {
		hours, inside, outside string // moments, with commas
	}{
		{"", "sun 00:00:00, wed 12:00:00", ""},
		{"07:00-19:00", "sun 07:00:00, sat 18:59:59", "sun 06:59:59, sat 19:00:00, mon 00:00:00"},
		{"mon-fri 07:00-19:00", "mon 07:00:00, fri 18:59:59", "sun 12:00:00, sat 12:00:00, mon 06:59:59, fri 19:00:00"},
		{"MON-Fri 07:00-19:00", "tue 12:00:00", "sun 12:00:00"},
		{"mon 00:00-24:00", "mon 00:00:00, mon 23:59:59", "sun 23:59:59, tue 00:00:00"},
		// Over midnight: the day is the one on which it begins.
		{"mon-fri 22:00-06:00", "mon 22:00:00, tue 05:59:59, sat 05:59:59, fri 23:00:00", "mon 05:00:00, mon 21:59:59, sat 06:00:00, sat 22:00:00, sun 05:00:00"},
		{"sat 22:00-02:00", "sat 23:00:00, sun 01:59:59", "sat 01:00:00, sun 02:00:00, sun 22:00:00"},
		{"22:00-24:00", "mon 23:59:59", "mon 21:59:59, mon 00:00:00"},
		{"22:00-00:00", "mon 23:59:59", "mon 21:59:59, mon 00:00:00"},
		// Days over the end of the week.
		{"fri-mon 10:00-11:00", "fri 10:00:00, sat 10:00:00, sun 10:00:00, mon 10:00:00", "tue 10:00:00, thu 10:00:00"},
		{"mon-fri 07:00-19:00, sat 08:00-12:00", "mon 18:00:00, sat 08:00:00", "sat 12:00:00, sat 07:00:00, sun 09:00:00"},
		{"  wed   9:00-10:00 ", "wed 09:30:00", "wed 10:00:00"},
	}
	for _, tt := range tests {
		var h Hours
		if err := h.UnmarshalText([]byte(tt.hours)); err != nil {
			t.Errorf("%q: %v", tt.hours, err)
			continue
		}
		for want, moments := range map[bool]string{true: tt.inside, false: tt.outside} {
			for m := range strings.SplitSeq(moments, ", ") {
				if m != "" && h.Contains(moment(t, m)) != want {
					t.Errorf("%q contains %s: %t", tt.hours, m, !want)
				}
			}
		}
		var again Hours
		if err := again.UnmarshalText([]byte(h.String())); err != nil || !again.Equal(h) {
			t.Errorf("%q is written as %q, which is read as %q (%v)", tt.hours, h, again, err)
		}
	}
}

func TestHoursRefused(t *testing.T) {
	for text, want := range map[string]string{
		"always":                "are not hours",
		"mon-fri":               "are not hours",
		"mon-fri 7-19":          "are not hours",
		"mon 07:00":             "are not hours",
		"mon 07:00-25:00":       "are not hours",
		"mon 07:60-08:00":       "are not hours",
		"mon tue 07:00-08:00":   "are not hours",
		"07:00-19:00,":          "are not hours",
		"07:00-19:00;mon":       "are not hours",
		"mo 07:00-08:00":        `have no day "mo"`,
		"mon-sonntag 1:00-2:00": `have no day "mon-sonntag"`,
		"07:00-07:00":           "holds no time",
		"24:00-06:00":           "holds no time",
	} {
		h := Hours{text: "before"}
		if err := h.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if !h.IsZero() || h.String() != "" {
			t.Errorf("%q left %q", text, h)
		}
	}
}

// The machine's clock decides, whatever its zone.
func TestHoursGoByTheClockThatTheyAreAsked(t *testing.T) {
	var h Hours
	if err := h.UnmarshalText([]byte("mon 07:00-08:00")); err != nil {
		t.Fatal(err)
	}
	monday := moment(t, "mon 07:30:00")
	if !h.Contains(monday) || h.Contains(monday.In(time.FixedZone("", 3*3600))) {
		t.Error("the zone of the time is not looked at")
	}
}

func FuzzHours(f *testing.F) {
	for _, s := range []string{"", "07:00-19:00", "mon-fri 22:00-06:00, sat 08:00-12:00", "sun 00:00-24:00", "x", ",", "mon 24:00-24:00"} {
		f.Add(s, int64(0))
	}
	f.Fuzz(func(t *testing.T, text string, second int64) {
		var h, again Hours
		if h.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(h.String())); err != nil || again.String() != h.String() {
			t.Fatalf("%q is written as %q, which is read as %q (%v)", text, h, again, err)
		}
		when := time.Unix(second%(1<<40), 0).UTC()
		if h.Contains(when) != again.Contains(when) || h.Contains(when) != h.Contains(when.Add(7*24*time.Hour)) {
			t.Fatalf("%q: %v is in one and not in the other", text, when)
		}
		if h.IsZero() && !h.Contains(when) {
			t.Fatalf("%q is always, but not at %v", text, when)
		}
	})
}
