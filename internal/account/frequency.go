package account

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// codeFrequency is AADSTS70043: a sign-in frequency policy of Conditional Access
// ended the sign-in. The number decides nothing; something is learned from it.
const codeFrequency = 70043

const (
	// maxLearned bounds what is learned of one account, in resources: its record is
	// to fit into one credential.
	maxLearned = 8
	// early and late are how far our times may lie beside Entra's. It allows five
	// minutes of clock error, and counts from the moment when the person gave the
	// password, which may be a device code's life before we have the tokens.
	early = 5 * time.Minute
	late  = 15 * time.Minute
	// loose is how many times the lower bound the upper one may be before the lower
	// one says nothing.
	loose = 2
)

// frequency is what was learned of the sign-in frequency that holds for one
// resource: so long after a sign-in a redemption was still good, and so long after
// one it was refused. The truth lies between the two.
type frequency struct {
	least time.Duration
	most  time.Duration
	times int       // how many sign-ins it was learned from; 0: nothing is known
	last  time.Time // the last of these sign-ins
	good  time.Time // the last good redemption for the resource
}

// refused takes a redemption that the policy refused. changed is false where that
// says nothing new.
func (f frequency) refused(signedIn, now time.Time) (after frequency, changed bool) {
	least, most := max(0, f.good.Sub(signedIn)), now.Sub(signedIn)
	after = f
	switch {
	case most <= 0 || most < least: // the clock was set
		return f, false
	case f.times > 0 && f.last.Equal(signedIn): // the same end, met again
		return f, false
	case f.times == 0 || most <= f.least || least >= f.most: // nothing was known, or the policy has changed
		after.least, after.most, after.times = least, most, 1
	default:
		after.least, after.most, after.times = max(f.least, least), min(f.most, most), f.times+1
	}
	after.last = signedIn
	return after, true
}

// passed takes a good redemption. One past the upper bound shows that what was
// learned holds no more; forgot is true then.
func (f frequency) passed(signedIn, now time.Time) (after frequency, forgot bool) {
	span := now.Sub(signedIn)
	if f.times > 0 && span > f.most+early {
		return frequency{good: now}, true
	}
	f.good = now
	if f.times > 0 {
		f.least = max(f.least, min(span, f.most))
	}
	return f, false
}

// span is the time from a sign-in to the next that the policy demands; ok is
// false where too little is known to say one. Where exactly one period that an
// administrator can set lies between the bounds it is that one, else the lower
// bound, which is on the safe side.
func (f frequency) span() (d time.Duration, ok bool) {
	if f.times == 0 {
		return 0, false
	}
	if d, ok := f.period(); ok {
		return d, true
	}
	return f.least, f.least > 0 && f.most <= loose*f.least
}

// period is the one period between the bounds that Conditional Access knows: it
// has 1 to 23 hours, and whole days.
func (f frequency) period() (d time.Duration, ok bool) {
	const day = 24 * time.Hour
	from, to := f.least-early, f.most+late
	step := time.Hour
	if to >= day {
		step = day
	}
	d = to.Truncate(step)
	if d == day {
		step = time.Hour // the next shorter one is 23 hours
	}
	return d, d > 0 && d > from && d-step <= from
}

// end is when the policy ends a sign-in; it is held within the bounds, so that it
// is no later than a refusal that was met.
func (f frequency) end(signedIn time.Time) time.Time {
	d, _ := f.span()
	return signedIn.Add(max(f.least, min(d, f.most)))
}

// learn takes the outcome of a redemption into what is known of the sign-in
// frequency. It gives what is known of the resource now, and whether that is news
// to a person. The caller holds the book's mu.
func (e *entry) learn(resource string, err *token.Error, now time.Time) (after frequency, news bool) {
	was, signedIn := e.rec.learned[resource], e.rec.grant.SignedInOn
	switch {
	case err == nil:
		after, news = was.passed(signedIn, now)
	case err.AADSTS == codeFrequency && err.Kind == token.KindSignInRequired:
		after, news = was.refused(signedIn, now)
	default:
		return was, false
	}
	if after != was {
		e.keepLearned(resource, after)
	}
	if news || after.least != was.least {
		e.rec.generation++ // the time of a good redemption alone is saved with the next rotation
	}
	return after, news
}

// keepLearned replaces what is known of one resource, in a map of its own: the
// writer reads the record without a lock.
func (e *entry) keepLearned(resource string, f frequency) {
	learned := maps.Clone(e.rec.learned)
	if learned == nil {
		learned = map[string]frequency{}
	}
	learned[resource] = f
	if len(learned) > maxLearned {
		worth := func(x, y string) int {
			return cmp.Or(cmp.Compare(min(learned[x].times, 1), min(learned[y].times, 1)), learned[x].good.Compare(learned[y].good), cmp.Compare(x, y))
		}
		delete(learned, slices.MinFunc(slices.Collect(maps.Keys(learned)), worth))
	}
	e.rec.learned = learned
}

// shortest is the frequency that ends the sign-in first; ok is false where none is
// known.
func (e *entry) shortest() (f frequency, ok bool) {
	for _, resource := range slices.Sorted(maps.Keys(e.rec.learned)) {
		other := e.rec.learned[resource]
		d, known := other.span()
		if best, _ := f.span(); known && (!ok || d < best) {
			f, ok = other, true
		}
	}
	return f, ok
}

// predict is when the sign-in ends by itself, and why. It has an end where nobody
// ever uses it, and where a policy was learned.
func (e *entry) predict() (on time.Time, why End) {
	on, why = e.rec.grant.ObtainedOn.Add(idleEnd), EndIdle
	if f, ok := e.shortest(); ok {
		if by := f.end(e.rec.grant.SignedInOn); by.Before(on) {
			return by, EndFrequency
		}
	}
	return on, why
}

// goodOn is when the sign-in was last seen to work.
func (e *entry) goodOn() time.Time {
	return slices.MaxFunc([]time.Time{e.rec.grant.SignedInOn, e.rec.grant.ObtainedOn, e.last}, time.Time.Compare)
}

// learnedOut is the stored form of what was learned.
func learnedOut(learned map[string]frequency) map[string]learnedJSON {
	out := make(map[string]learnedJSON, len(learned))
	for resource, f := range learned {
		out[resource] = learnedJSON{
			Least: int64(f.least / time.Second), Most: int64((f.most + time.Second - 1) / time.Second), Times: f.times,
			Last: unix(f.last), Good: unix(f.good),
		}
	}
	return out
}

// learnedIn reads it. What cannot be is left out: it is worth less than the
// sign-in. The last sign-in gets back the fraction of its second, so that it is
// known again.
func learnedIn(stored map[string]learnedJSON, signedIn time.Time) map[string]frequency {
	out := make(map[string]frequency, len(stored))
	for resource, j := range stored {
		if j.Times < 0 || j.Least < 0 || j.Most < j.Least || j.Most > maxSpan || len(out) == maxLearned {
			continue
		}
		f := frequency{least: time.Duration(j.Least) * time.Second, most: time.Duration(j.Most) * time.Second, times: j.Times, last: moment(j.Last), good: moment(j.Good)}
		if j.Last == signedIn.Unix() {
			f.last = signedIn
		}
		out[resource] = f
	}
	return out
}

// maxSpan bounds what is read: ten years, in seconds.
const maxSpan = 10 * 365 * 24 * 3600

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func moment(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
