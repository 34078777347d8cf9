package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is how often something may happen: Count times per Per, and at most
// Burst at once. The zero Rate is no limit.
type Rate struct {
	Count int           // 1 to 1,000,000
	Per   time.Duration // a second, a minute or an hour
	Burst int           // 1 to 1,000,000; Count where nothing is said
}

const maxRate = 1_000_000

var errRate = errors.New(`is not a rate; write a number per second, minute or hour, such as 50/s, 10/m or 1000/h, and where wanted a burst: "50/s burst 100"`)

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r == Rate{} }

// String is the rate as it is written in the file; "" for no limit.
func (r Rate) String() string {
	if r.IsZero() {
		return ""
	}
	unit := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[r.Per]
	s := fmt.Sprintf("%d/%s", r.Count, unit)
	if r.Burst != r.Count {
		s += fmt.Sprintf(" burst %d", r.Burst)
	}
	return s
}

// MarshalText is String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "<n>/<s|m|h>", where wanted with " burst <n>" behind it;
// empty text is no limit.
func (r *Rate) UnmarshalText(text []byte) error {
	fields := strings.Fields(string(text))
	*r = Rate{}
	if len(fields) == 0 {
		return nil
	}
	count, unit, ok := strings.Cut(fields[0], "/")
	per, known := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	if !ok || !known || (len(fields) != 1 && (len(fields) != 3 || fields[1] != "burst")) {
		return errRate
	}
	n, err := rateNumber(count)
	if err != nil {
		return err
	}
	burst := n
	if len(fields) == 3 {
		if burst, err = rateNumber(fields[2]); err != nil {
			return err
		}
	}
	*r = Rate{Count: n, Per: per, Burst: burst}
	return nil
}

func rateNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case errors.Is(err, strconv.ErrRange) || (err == nil && (n < 1 || n > maxRate)):
		return 0, fmt.Errorf("has a number out of range; both numbers of a rate go from 1 to %d (leave the key out for no limit)", maxRate)
	case err != nil:
		return 0, errRate
	}
	return n, nil
}
