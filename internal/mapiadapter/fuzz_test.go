package mapiadapter

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// FuzzNext: any state of a ledger and any event give an answer, which can be
// written to the ledger again, wakes nobody in the past, and leads somewhere: the
// same again and again comes to rest.
func FuzzNext(f *testing.F) {
	m := newModel(1)
	m.book.table, m.book.seen = table(), map[edge]int{}
	for i, op := range operations(1) {
		if err := m.operate(op); err != nil {
			f.Fatal(err)
		}
		if i%16 == 0 {
			text, err := json.Marshal(m.s)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text, uint64(i), op)
		}
	}
	f.Add([]byte(`{"phase":"observe","since":"9999-12-31T23:59:59Z","retry":"0001-01-01T00:00:00Z"}`), uint64(0), uint64(1))
	f.Add([]byte(`{"phase":"trigger","failures":-9000000000000000000,"lifetime":-1,"starts":["2026-11-20T12:00:00Z"]}`), uint64(3), uint64(2))
	f.Add([]byte(`{"phase":"","latest":"2999-01-01T00:00:00+23:59","reminders":-5,"deferred":9000000000000000000}`), uint64(7), uint64(3))
	f.Fuzz(func(t *testing.T, text []byte, world, op uint64) {
		var s State
		if json.Unmarshal(text, &s) != nil {
			return
		}
		comesToRest(t, s, world, op)
	})
}

// TestAnyState does the same with states whose every field is arbitrary.
func TestAnyState(t *testing.T) {
	for seed := range uint64(1000) {
		m := &model{rnd: seed}
		comesToRest(t, m.anyState(), seed, mix(seed))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// comesToRest gives the machine a state, and an event of some world.
func comesToRest(t *testing.T, s State, world, op uint64) {
	t.Helper()
	m := newModel(world)
	m.rnd = op
	for range m.dice(20) {
		m.turn()
	}
	m.lives()
	m.look()
	in := m.in
	in.Sight, in.Event, in.Jitter = m.sight, m.anyEvent(), float64(m.dice(200))/100-1
	if s.Attempt != nil && m.dice(2) == 0 {
		in.Event.Attempt = s.Attempt.ID
	}
	now, moves := m.wall(), 0
	for range 30 {
		next, steps, _ := Next(s, in, now)
		if len(steps) >= maxHops {
			t.Fatalf("%d transitions in one step: %v", len(steps), steps)
		}
		if _, err := json.Marshal(next); err != nil && marshals(s) {
			t.Fatalf("the state cannot be written: %v", err)
		}
		if wake := Wake(next, in.Limits, now); !wake.After(now) || wake.Sub(now) > in.Limits.Look {
			t.Fatalf("woken in %s", wake.Sub(now))
		}
		if NextCheck(next, in.Limits, now).Before(now) {
			t.Fatal("the next check is in the past")
		}
		if len(steps) > 0 {
			moves++
		}
		s, in.Event = next, Event{Kind: EventTick}
	}
	if moves > 3 {
		t.Fatalf("it moved %d times while nothing happened and no time passed", moves)
	}
	for range 100 { // and a clock that runs gives no panic either
		now = now.Add(time.Duration(m.dice(1e6)) * time.Second)
		in.Sight.On = now
		s, _, _ = Next(s, in, now)
	}
}

// anyState is a state that no machine would make.
func (m *model) anyState() State {
	var s State
	for _, f := range reflect.ValueOf(&s).Elem().Fields() {
		m.anyValue(f)
	}
	if m.dice(4) > 0 {
		s.Phase = Phases()[m.dice(uint64(len(Phases())))]
	}
	return s
}

func (m *model) anyValue(f reflect.Value) {
	if m.dice(3) == 0 {
		return
	}
	switch v := f.Addr().Interface().(type) {
	case *time.Time:
		away := []time.Duration{0, second, minute, hour, 1000 * hour, 100000 * hour}[m.dice(6)]
		*v = noon.Add(away * time.Duration(m.dice(3)-1))
		return
	case *Reason:
		*v = []Reason{ReasonPaused, ReasonCircuit, ReasonSignIn, ReasonWrongProfile, ReasonAgent, ReasonNewOutlook, ReasonElevated, "other"}[m.dice(8)]
		return
	}
	switch f.Kind() {
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
		m.anyValue(f.Elem())
	case reflect.Slice:
		f.Set(reflect.MakeSlice(f.Type(), int(m.dice(12)), 12))
		for i := range f.Len() {
			m.anyValue(f.Index(i))
		}
	case reflect.Struct:
		for _, inner := range f.Fields() {
			m.anyValue(inner)
		}
	case reflect.String:
		f.SetString([]string{"a1", "c1", "1", "mark 0", "start", "gone"}[m.dice(6)])
	case reflect.Bool:
		f.SetBool(true)
	case reflect.Int, reflect.Int64:
		f.SetInt(int64(m.dice(7)) - 2)
	default:
		f.SetUint(m.dice(5))
	}
}

func marshals(s State) bool { _, err := json.Marshal(s); return err == nil }

// anyEvent is one of all that there are.
func (m *model) anyEvent() Event {
	kinds := []EventKind{EventTick, EventStarted, EventEnsure, EventReportOK, EventReportBad, EventProbe, EventResult, EventPause, EventResume, "other"}
	return Event{
		Kind: kinds[m.dice(uint64(len(kinds)))], Force: m.dice(2) == 0, OK: m.dice(2) == 0, Service: m.dice(2) == 0,
		Attempt: "a1", Outcome: []Outcome{Done, Declined, Refused, Failed, ""}[m.dice(5)], Refusal: []string{"", "elevated", "wrong_profile"}[m.dice(3)],
		PID: uint32(m.dice(3)), HResult: uint32(m.dice(1 << 32)), Class: []Class{ClassAuth, ClassAccount, ClassLogon, ClassOther, ""}[m.dice(5)],
	}
}
