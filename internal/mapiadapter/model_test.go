package mapiadapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The size of the check. MAPI_MODEL_RUNS asks for more runs. Each tenth is long:
// most defects show soon, some only when much has come together.
const (
	modelRuns  = 10000
	modelShort = 400
	modelLong  = 3000
)

// TestModel wanders at random through a small world, and holds the machine to
// what the design says must never happen, and that it gets on where the world is
// good.
func TestModel(t *testing.T) {
	runs := uint64(modelRuns)
	if text := os.Getenv("MAPI_MODEL_RUNS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		runs = n
	}
	if raceDetector || testing.Short() || runtime.GOOS == "windows" { // the same code everywhere, and Wine is slow
		runs /= 20
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // nearly all of it is garbage at once
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[edge]int{}
	attempts, failed := 0, false
	next := uint64(0)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			mine, made := map[edge]int{}, 0
			for {
				mu.Lock()
				seed := next
				next++
				stop := failed || seed >= runs
				mu.Unlock()
				if stop {
					break
				}
				ops := operations(seed)
				m, err := play(seed, ops, mine)
				made += m.book.attempts
				if err != nil {
					mu.Lock()
					if !failed {
						failed = true
						t.Error(explain(seed, ops, err))
					}
					mu.Unlock()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			attempts += made
			for e, n := range mine {
				seen[e] += n
			}
		})
	}
	wg.Wait()
	if !failed {
		covered(t, seen)
	}
	t.Logf("%d runs, %d attempts", runs, attempts)
}

// covered checks that the wandering went every way of the table.
func covered(t *testing.T, seen map[edge]int) {
	t.Helper()
	ways := slices.SortedFunc(maps.Keys(table()), func(a, b edge) int { return strings.Compare(string(a.from+a.to), string(b.from+b.to)) })
	for _, e := range ways {
		t.Logf("%15s -> %-15s %9d", e.from, e.to, seen[e])
		if seen[e] == 0 {
			t.Errorf("nothing went from %s to %s: the world of the model is too small", e.from, e.to)
		}
	}
}

// operations is what happens in a run.
func operations(seed uint64) []uint64 {
	length := modelShort
	if long(seed) {
		length = modelLong
	}
	ops := make([]uint64, length)
	x := mix(seed)
	for i := range ops {
		x = mix(x)
		ops[i] = x
	}
	return ops
}

func long(seed uint64) bool { return seed%10 == 0 }

// play lets a world go through the operations. Each tenth run ends with a world
// that is good, and in which the machine must prove its access.
func play(seed uint64, ops []uint64, seen map[edge]int) (*model, error) {
	m := newModel(seed)
	m.book.table, m.book.seen = theTable, seen
	for i, op := range ops {
		if err := m.operate(op); err != nil {
			return m, fmt.Errorf("operation %d: %w", i, err)
		}
	}
	if long(seed) {
		return m, m.liveness()
	}
	return m, nil
}

var theTable = table()

// operate is one thing that happens.
func (m *model) operate(op uint64) error {
	m.rnd = op
	ev := Event{Kind: EventTick}
	switch k := m.dice(100); {
	case k < 20:
		m.real += time.Duration(1+m.dice(15)) * second
	case k < 30:
		m.real += minute
	case k < 48:
		m.real += max(0, Wake(m.s, m.in.Limits, m.wall()).Sub(m.wall()))
	case k < 54: // to the end of a wait
		m.real += min(max(0, m.s.Retry.Sub(m.wall())), 25*hour)
	case k < 57:
		m.real += time.Duration(1+m.dice(10*60)) * minute
	case k < 72:
		m.turn()
	case k < 80:
		ev = m.consumer()
	case k < 84:
		ev = Event{Kind: EventEnsure, Force: m.dice(3) == 0}
	case k < 88:
		ev = Event{Kind: EventResume}
		if m.dice(12) == 0 || (m.s.Phase == Suspended || m.s.Phase == Session0Broken) && m.dice(3) == 0 {
			ev.Kind = EventPause
		}
	case k < 92:
		ev = m.probe()
	case k < 95:
		return m.restart()
	case k < 96:
		m.jump()
	}
	return m.goOn(ev)
}

// goOn lets the computer go on, and the machine take a step.
func (m *model) goOn(ev Event) error {
	if !m.chance(m.loses) {
		m.lives()
	}
	if !m.chance(m.stale) {
		m.look()
	}
	m.sight.Known = m.sight.Agent || m.real >= m.knownFrom
	if ev.Kind == EventTick && len(m.results) > 0 {
		ev = m.results[0]
		if !m.chance(m.repeats) {
			m.results = m.results[1:]
		}
	}
	return m.next(ev, true)
}

// next is one step of the machine. Where the broker is about to be killed, the
// ledger has it and nothing of it is done.
func (m *model) next(ev Event, carry bool) error {
	m.last = ev
	k := &m.step
	k.before, k.in, k.now = m.s, m.in, m.wall()
	k.in.Sight, k.in.Event = m.sight, ev
	k.in.Jitter = float64(m.dice(200))/100 - 1
	k.after, k.steps, k.dos = Next(k.before, k.in, k.now)
	if err := m.check(k); err != nil {
		return err
	}
	switch m.dice(16) {
	case 0:
		if err := m.checkLoss(k.before, k.in); err != nil {
			return err
		}
	case 1:
		if err := m.checkStill(k.in, k.after); err != nil {
			return err
		}
	}
	m.s = k.after
	if len(k.steps) > 0 || !sameState(&m.s, &m.kept) {
		m.kept = m.s
	}
	if !carry {
		return nil
	}
	for _, d := range k.dos {
		switch d.Kind {
		case DoStart, DoSend:
			m.works = append(m.works, modelWork{d.Kind, d.Attempt, d.Ask, k.now.Add(m.in.Limits.Trigger)})
		case DoProbe:
			m.results = append(m.results, m.probe())
		case DoStartAgent:
			if m.dice(4) == 0 {
				m.newAgent()
			}
		default: // a look comes anyway
		}
	}
	return nil
}

// restart ends the broker and starts it again, with what the ledger has.
func (m *model) restart() error {
	if m.dice(2) == 0 { // killed between the ledger and the delivery
		if err := m.next(Event{Kind: EventTick}, false); err != nil {
			return err
		}
	}
	text, err := json.Marshal(m.kept)
	if err != nil {
		return err
	}
	m.s = State{}
	if err := json.Unmarshal(text, &m.s); err != nil {
		return err
	}
	m.kept, m.works = m.s, nil
	m.real += []time.Duration{0, second, minute, hour, 30 * hour}[m.dice(5)]
	if m.dice(4) == 0 {
		m.jump()
	}
	m.knownFrom = m.real + 75*second
	m.sight = Sight{}
	return m.next(Event{Kind: EventStarted}, true)
}

// sameState reports whether nothing changed but the time of the step: then the
// ledger was not written.
//
//nolint:staticcheck // a moment is the same where it is written the same
func sameState(a, b *State) bool {
	same := a.Phase == b.Phase && a.Reason == b.Reason && a.Since == b.Since && a.Profile == b.Profile &&
		a.LastProof == b.LastProof && a.Proof == b.Proof && a.Failed == b.Failed && a.LastFailure == b.LastFailure && a.HResult == b.HResult &&
		a.Account == b.Account && a.Refuted == b.Refuted && a.Lifetime == b.Lifetime && a.BlindSince == b.BlindSince && a.CacheMark == b.CacheMark &&
		a.ProbeUnusable == b.ProbeUnusable && a.ProbeAskedOn == b.ProbeAskedOn && a.ProbeFails == b.ProbeFails && a.ProbeOn == b.ProbeOn
	same = same && a.Serial == b.Serial && a.Failures == b.Failures && a.Deferred == b.Deferred && a.Retry == b.Retry && a.LastTrigger == b.LastTrigger &&
		a.Reported == b.Reported && a.OursPID == b.OursPID && a.OursOn == b.OursOn && a.Closings == b.Closings && a.Seen == b.Seen &&
		a.AbsentSince == b.AbsentSince && a.AskingSince == b.AskingSince && a.CutOffSince == b.CutOffSince && a.Settle == b.Settle &&
		a.Mark == b.Mark && a.MarkBlind == b.MarkBlind && a.AgentStarts == b.AgentStarts && a.AgentStartOn == b.AgentStartOn &&
		a.AgentLogon == b.AgentLogon && a.Reminders == b.Reminders && a.NextReminder == b.NextReminder
	return same && slices.Equal(a.Starts, b.Starts) && samePart(a.Pending, b.Pending) && samePart(a.Attempt, b.Attempt)
}

func samePart[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// TestSameState: each field counts, but the one.
func TestSameState(t *testing.T) {
	for i := range reflect.TypeFor[State]().NumField() {
		var a, b State
		switch f := reflect.ValueOf(&b).Elem().Field(i); v := f.Addr().Interface().(type) {
		case *time.Time:
			*v = noon
		case *[]time.Time:
			*v = []time.Time{noon}
		case **Cause:
			*v = &Cause{}
		case **Attempt:
			*v = &Attempt{}
		case *Seen:
			v.Locked = true
		default:
			switch f.Kind() {
			case reflect.String:
				f.SetString("x")
			case reflect.Bool:
				f.SetBool(true)
			default:
				f.Set(reflect.ValueOf(1).Convert(f.Type()))
			}
		}
		if name := reflect.TypeFor[State]().Field(i).Name; sameState(&a, &b) != (name == "Latest") {
			t.Errorf("%s is not looked at as it should be", name)
		}
	}
}

// jump sets the clock.
func (m *model) jump() {
	d := []time.Duration{second, 2 * minute, hour, 25 * hour, 1000 * hour}[m.dice(5)]
	if m.drifts && m.dice(3) == 0 {
		m.forward = true
		m.skew += d
		return
	}
	if m.forward && m.dice(2) == 0 { // it is right again
		m.skew = 0
		return
	}
	m.skew -= d
}

// liveness: from wherever it is, the machine proves the access once the world is
// good and stays so. A person resumes what waits for that, switches back from new
// Outlook, opens Outlook under notify_only, and looks in after an account was
// mended; for all else nobody is needed.
func (m *model) liveness() error {
	m.rnd = mix(m.rnd)
	m.settle()
	begin := m.real
	for m.real-begin < 36*hour {
		ev := Event{Kind: EventTick}
		switch {
		case m.s.Phase == Suspended, m.s.Phase == Session0Broken:
			ev.Kind = EventResume
		case m.s.Phase == Unsupported && m.s.Reason == ReasonNewOutlook:
			m.mark++
		case m.s.Phase == NeedsUser && m.s.Reason == ReasonAccount:
			m.locked = !m.locked
		case m.s.Phase == NeedsUser && m.s.Reason == ReasonOpenOutlook && m.outlook == OutlookAbsent:
			m.outlook, m.mode = OutlookHere, 700
			m.renew()
		case m.in.Target.Policy == NotifyOnly && m.outlook == OutlookHere && m.s.Phase == Observe:
			m.renew() // nobody asks it to
		}
		if err := m.goOn(ev); err != nil {
			return fmt.Errorf("in a good world: %w", err)
		}
		if m.s.Phase == Idle && !m.s.needed(m.in.Limits, m.wall()) && freshnessOf(m.s, m.in.Limits, m.wall()) == Fresh {
			return nil
		}
		m.real += Wake(m.s, m.in.Limits, m.wall()).Sub(m.wall())
	}
	text, err := json.Marshal(m.s)
	return errors.Join(fmt.Errorf("after 36 h in a good world Outlook is %s, the state %s", m.outlook, text), err)
}

// explain makes a failed run as short as it gets, and tells it.
func explain(seed uint64, ops []uint64, err error) string {
	fails := func(some []uint64) bool {
		_, e := play(seed, some, map[edge]int{})
		return e != nil
	}
	for size := len(ops) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(ops); {
			if shorter := slices.Delete(slices.Clone(ops), i, i+size); fails(shorter) {
				ops = shorter
			} else {
				i += size
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %v\nas short as it gets, %d operations:\n", seed, err, len(ops))
	m := newModel(seed)
	m.book.table, m.book.seen = theTable, map[edge]int{}
	fmt.Fprintf(&b, "  policy %s, probe %v\n", m.in.Target.Policy, m.in.Target.Probe)
	for i, op := range ops {
		err := m.operate(op)
		fmt.Fprintf(&b, "%3d %12s %s  %s(%s)  agent %v Outlook %s %d %q  %s %v\n", i, m.real, m.wall().Format("15:04:05"), m.s.Phase, m.s.Reason,
			m.sight.Agent, m.sight.Outlook, m.sight.Mode, m.sight.Asking, m.last.Kind, err)
	}
	if long(seed) {
		fmt.Fprintf(&b, "then: %v", m.liveness())
	}
	return b.String()
}
