package account

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Fate is what becomes of a sign-in that is imported.
type Fate string

// The fates. Programs read the words: add to them, never change one.
const (
	FateNew       Fate = "new"       // the account was not signed in here
	FateUpdated   Fate = "updated"   // it takes the place of an older sign-in, or of any where that was wanted
	FateUnchanged Fate = "unchanged" // it is here already
	FateKept      Fate = "kept"      // the sign-in here is newer, and stays
	FateConflict  Fate = "conflict"  // the configuration or another sign-in is in the way
	FateFailed    Fate = "failed"    // it could not be stored
)

// Changes reports whether the sign-in takes effect here.
func (f Fate) Changes() bool { return f == FateNew || f == FateUpdated }

// Outcome is what becomes of one sign-in.
type Outcome struct {
	Name string // of the account here; of a conflict, what it was called in the export
	Fate Fate
	Note string       // a sentence that is worth knowing; may be empty
	Err  *token.Error // why, of a conflict and of a failure
}

const opImport = "import"

// Weigh says what Import would do, and changes nothing.
func (b *Book) Weigh(s Saved, replace bool) Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, _, _ := b.weigh(s, replace)
	return o
}

// Import takes over a sign-in from elsewhere. It writes the record, reads it back,
// and only then is the account this one. Of two sign-ins of one person the newer
// stays, unless replace says that the imported one is to. To import the same again
// changes nothing.
func (b *Book) Import(ctx context.Context, s Saved, replace bool) Outcome {
	var o Outcome
	err := b.exclusively(ctx, func() error {
		b.mu.Lock()
		weighed, rec, old := b.weigh(s, replace)
		replaced := others(old, rec)
		b.mu.Unlock()
		o = weighed
		if !o.Fate.Changes() {
			return nil
		}
		err := b.saveAndVerify(ctx, rec)
		for _, id := range replaced { // the newest of several would be the account at the next start
			if err == nil {
				err = b.cfg.Store.Delete(ctx, id)
			}
		}
		if err == nil && b.enter(s, replace, rec, old) {
			return nil
		}
		b.saveAgain(rec.name)
		if err == nil {
			o.Fate, o.Err = FateFailed, token.NewError(token.KindConflict, opImport, "Somebody signed in to the account at the same moment; that sign-in stays. Import again to compare the two.")
		}
		return err
	})
	if err != nil {
		if o.Name == "" {
			o.Name = s.Name
		}
		o.Fate, o.Err = FateFailed, &token.Error{
			Kind: token.KindStore, Op: opImport, Err: err,
			Detail: "The sign-in could not be stored, and what was here stays; `broker status` says what is wrong with the store. Import again then.",
		}
	}
	return o
}

// others are the records in the store that one replaces and does not overwrite. The
// caller holds mu.
func others(old *entry, by record) []string {
	if old == nil {
		return nil
	}
	return slices.DeleteFunc(append([]string{old.rec.id()}, old.shadowed...), func(id string) bool { return id == by.id() })
}

// weigh decides, and gives the record to write and the entry that it replaces;
// nil where nobody is signed in. The caller holds mu.
func (b *Book) weigh(s Saved, replace bool) (Outcome, record, *entry) {
	rec, g := s.record(), s.Grant
	if b.unread != nil {
		return Outcome{Name: s.Name, Fate: FateFailed, Err: b.unread}, rec, nil
	}
	if why := b.inTheWay(rec); why != "" {
		return conflict(s.Name, why), rec, nil
	}
	rec.name, _ = b.nameOf(rec)
	o := Outcome{Name: rec.name, Fate: FateNew}
	if app := b.appOf(rec.name); app.ClientID != g.App.ClientID {
		o.Note = fmt.Sprintf("It was signed in with app registration %s and goes on with it; the configuration here says %s, which the next `broker login` uses.", g.App.ClientID, app.ClientID)
	}
	old := b.entries[rec.name]
	if old == nil || !old.signedIn {
		return o, rec, nil
	}
	before := old.rec.grant
	newer := g.SignedInOn.Compare(before.SignedInOn)
	if newer == 0 { // one sign-in, whose token both machines have renewed since
		newer = g.ObtainedOn.Compare(before.ObtainedOn)
	}
	switch {
	case before.HomeAccountID != g.HomeAccountID:
		return conflict(s.Name, fmt.Sprintf("Account %s is signed in as %s here, and as %s in the export; sign it out first, with: broker logout --account %s",
			rec.name, before.Username, g.Username, rec.name)), rec, nil
	case before.App == g.App && before.RefreshToken.Equal(g.RefreshToken):
		o.Fate = FateUnchanged
	case newer > 0 || replace:
		o.Fate = FateUpdated
	default:
		o.Fate = FateKept
		o.Note = "The sign-in here is newer and stays; import with --replace to have the one of the export."
	}
	rec.generation = old.rec.generation + 1
	if len(rec.learned) == 0 {
		rec.learned = old.rec.learned // the tenant's policy is what it was
	}
	return o, rec, old
}

func conflict(name, why string) Outcome {
	return Outcome{Name: name, Fate: FateConflict, Err: token.NewError(token.KindConflict, opImport, why)}
}

// inTheWay is what of the configuration the sign-in cannot be taken over with; ""
// where nothing is. The caller holds mu.
func (b *Book) inTheWay(rec record) string {
	g := rec.grant
	if g.App.Authority != b.app.Authority {
		return fmt.Sprintf("%s signed in at %s, and the authority of the configuration here is %s; a broker has one (settings cloud and authority).", g.Username, g.App.Authority, b.app.Authority)
	}
	if a, ok := b.aliases[rec.name]; ok {
		switch {
		case a.Username != "" && a.Username != g.Username:
			return fmt.Sprintf("Account %s is %s in the configuration here, and %s in the export; rename one of the two.", rec.name, a.Username, g.Username)
		case !a.fits(g):
			return fmt.Sprintf("Account %s was signed in with app registration %s, and the configuration here says %s; set client_id to the same, or sign in anew.", rec.name, g.App.ClientID, a.App.ClientID)
		}
	}
	if _, free := b.nameOf(rec); !free {
		return fmt.Sprintf("%s is the name of another account in the configuration here; rename that alias.", g.Username)
	}
	return ""
}

// appOf is App for a caller that holds mu.
func (b *Book) appOf(name string) token.App {
	if a, ok := b.aliases[name]; ok {
		return a.App
	}
	return b.app
}

// enter puts a record that was written into the book, unless something else has
// come about since it was decided.
func (b *Book) enter(s Saved, replace bool, written record, old *entry) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, rec, now := b.weigh(s, replace)
	if !o.Fate.Changes() || now != old {
		return false
	}
	e := &entry{rec: rec, signedIn: true, saved: written.generation, since: time.Now()}
	e.shadow(old)
	b.entries[rec.name] = e
	b.rename()
	if e.saved < rec.generation { // a renewal of the old one counted on meanwhile
		b.wakeWriter()
	}
	return true
}

// saveAgain has the account's record written once more: the store may hold
// another one now.
func (b *Book) saveAgain(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[name]; e != nil && e.signedIn {
		e.rec.generation++
		b.wakeWriter()
	}
}
