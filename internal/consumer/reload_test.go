package consumer

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// reload is a registry and the configuration that its changes are saved to.
type reload struct {
	*Registry
	t     *testing.T
	saver *fakeSaver
	crm   string // the key of the consumer that is there from the start
}

func newReload(t *testing.T) *reload {
	t.Helper()
	saver := &fakeSaver{}
	r, key, _ := newRegistry(t, saver)
	time.Sleep(time.Second) // the start is long over
	return &reload{Registry: r, t: t, saver: saver, crm: key}
}

// before is the configuration as it was before any change.
func (r *reload) before() []Spec { return []Spec{crmSpec(token.NewSecret(r.crm))} }

func (r *reload) apply(specs []Spec, readOn time.Time) {
	r.t.Helper()
	if err := r.ReplaceAsOf(specs, readOn); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reload) works(what, key string, want bool) {
	r.t.Helper()
	if _, err := r.Authenticate(key); (err == nil) != want {
		r.t.Errorf("%s: %v, want it to work: %v", what, err, want)
	}
}

// TestAnOldReadingUndoesNoChange: a reading that began before a change was saved
// comes after it, and then the reading that the change itself set off.
func TestAnOldReadingUndoesNoChange(t *testing.T) {
	t.Run("add", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, readOn := newReload(t), time.Now()
			key, _, err := r.Add(t.Context(), Spec{Name: "erp"})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // also where both are of the same instant, and later
				r.apply(r.before(), readOn)
				r.works("the added key", key.Reveal(), true)
				time.Sleep(time.Minute)
			}
			r.apply(append(r.before(), r.saver.saved[0]), time.Now())
			r.works("the added key", key.Reveal(), true)
			r.apply(r.before(), time.Now()) // somebody deleted the file
			r.works("the deleted consumer's key", key.Reveal(), false)
		})
	})
	t.Run("rotate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, readOn := newReload(t), time.Now()
			key, _, err := r.Rotate(t.Context(), "crm", 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, specs := range [][]Spec{r.before(), nil} {
				r.apply(specs, readOn)
				r.works("the new key", key.Reveal(), true)
				r.works("the revoked key", r.crm, false)
			}
			time.Sleep(time.Millisecond)
			r.apply(r.before(), time.Now()) // the file was put back by hand, and wins
			r.works("the new key", key.Reveal(), false)
			r.works("the restored key", r.crm, true)
		})
	})
	t.Run("remove", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, readOn := newReload(t), time.Now()
			if err := r.Remove(t.Context(), "crm"); err != nil {
				t.Fatal(err)
			}
			r.apply(r.before(), readOn)
			r.works("the removed key", r.crm, false)
			time.Sleep(time.Millisecond)
			r.apply(r.before(), time.Now())
			r.works("the key that was written again", r.crm, true)
			if len(r.changed) != 0 {
				t.Errorf("remembered for ever: %v", r.changed)
			}
		})
	})
}

// TestAnOldReadingIsTakenButForTheChange: what a reading says of other
// consumers, and of one whose change it has seen, counts.
func TestAnOldReadingIsTakenButForTheChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, readOn := newReload(t), time.Now()
		if _, _, err := r.Rotate(t.Context(), "crm", time.Hour); err != nil {
			t.Fatal(err)
		}
		seen, other := r.saver.saved[0], NewKey()
		seen.Resources = []string{"ews"}
		seen.Keys[1].EndsOn = seen.Keys[1].EndsOn.UTC() // as a file has it
		r.apply([]Spec{seen, {Name: "new", Keys: []KeyHash{{SHA256: HashKey(other)}}}}, readOn)
		r.works("another consumer's key", other.Reveal(), true)
		id, err := r.Authenticate(r.crm)
		if err != nil {
			t.Fatal(err)
		}
		if err := id.Allows(token.Key{Account: "ops", Resource: "ews"}); err != nil {
			t.Error(err)
		}
	})
}

// TestAReadingDuringASave: the outcome is the change's, whichever of the two
// states of the file the reading saw.
func TestAReadingDuringASave(t *testing.T) {
	for _, sawIt := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newReload(t)
			r.saver.gate = make(chan struct{})
			done := make(chan token.Secret)
			go func() {
				key, _, err := r.Rotate(t.Context(), "crm", 0)
				if err != nil {
					t.Error(err)
				}
				done <- key
			}()
			synctest.Wait()
			specs, readOn := r.before(), time.Now()
			if sawIt {
				specs[0].Keys = []KeyHash{{SHA256: HashKey(NewKey())}}
			}
			r.apply(specs, readOn)
			close(r.saver.gate)
			key := <-done
			for range 2 {
				r.works("the new key", key.Reveal(), true)
				r.works("the revoked key", r.crm, false)
				r.apply(r.before(), readOn)
			}
		})
	}
}
