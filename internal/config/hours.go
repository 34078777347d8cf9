package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Hours are the times of the week at which something is allowed, by the machine's
// clock. The zero Hours is always.
type Hours struct {
	text    string
	windows []window
}

// window is one stretch of some days, in minutes since midnight; one that ends
// before it begins goes on into the next day.
type window struct {
	days       [7]bool // by time.Weekday
	begin, end int
}

var errHours = errors.New(`are not hours; write days and times, such as "mon-fri 07:00-19:00", and several with commas: "mon-fri 07:00-19:00, sat 08:00-12:00" (times alone are every day)`)

// IsZero reports whether it is always.
func (h Hours) IsZero() bool { return len(h.windows) == 0 }

// String is the text that was read.
func (h Hours) String() string { return h.text }

// MarshalText is String.
func (h Hours) MarshalText() ([]byte, error) { return []byte(h.text), nil }

// UnmarshalText reads "[<days> ]<hh:mm>-<hh:mm>[, …]"; empty text is always.
func (h *Hours) UnmarshalText(text []byte) error {
	*h = Hours{}
	if strings.TrimSpace(string(text)) == "" {
		return nil
	}
	var all []window
	for part := range strings.SplitSeq(string(text), ",") {
		fields := strings.Fields(part)
		days := "sun-sat"
		if len(fields) == 2 {
			days, fields = fields[0], fields[1:]
		}
		if len(fields) != 1 {
			return errHours
		}
		w, err := parseWindow(days, fields[0])
		if err != nil {
			return err
		}
		all = append(all, w)
	}
	*h = Hours{text: strings.Join(strings.Fields(string(text)), " "), windows: all}
	return nil
}

var weekdays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func parseWindow(days, times string) (w window, err error) {
	from, to, isRange := strings.Cut(strings.ToLower(days), "-")
	if !isRange {
		to = from
	}
	first, last := slices.Index(weekdays[:], from), slices.Index(weekdays[:], to)
	if first < 0 || last < 0 {
		return w, fmt.Errorf("have no day %q; days are mon, tue, wed, thu, fri, sat and sun", days)
	}
	for d := first; ; d = (d + 1) % 7 {
		w.days[d] = true
		if d == last {
			break
		}
	}
	begin, end, ok := strings.Cut(times, "-")
	if !ok {
		return w, errHours
	}
	if w.begin, err = minutes(begin); err != nil {
		return w, err
	}
	if w.end, err = minutes(end); err != nil {
		return w, err
	}
	if w.begin == w.end || w.begin == dayMinutes {
		return w, fmt.Errorf("%q holds no time; leave the hours out for always", times)
	}
	return w, nil
}

const dayMinutes = 24 * 60

// minutes reads hh:mm, with 24:00 as the end of the day.
func minutes(s string) (int, error) {
	if s == "24:00" {
		return dayMinutes, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, errHours
	}
	return t.Hour()*60 + t.Minute(), nil
}

// Contains reports whether t, by its own clock, is allowed.
func (h Hours) Contains(t time.Time) bool {
	if h.IsZero() {
		return true
	}
	day, minute := t.Weekday(), t.Hour()*60+t.Minute()
	yesterday := (day + 6) % 7
	return slices.ContainsFunc(h.windows, func(w window) bool {
		if w.begin < w.end {
			return w.days[day] && minute >= w.begin && minute < w.end
		}
		return w.days[day] && minute >= w.begin || w.days[yesterday] && minute < w.end
	})
}

// Equal reports whether both were written alike.
func (h Hours) Equal(o Hours) bool { return h.text == o.text }
