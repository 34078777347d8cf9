package account

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/m365-token-broker/broker/internal/token"
)

// Saved is one sign-in as it is kept outside of the store: in an export.
type Saved struct {
	Name  string // what the account is called where it was exported
	Grant token.Grant
	// Learned is what was found out about the sign-in's tenant, in this package's
	// own words; empty where nothing was.
	Learned json.RawMessage
}

// Export gives the sign-ins of the accounts with these canonical names, or all
// where none is named, by name. An account that is not signed in is an error, and
// so are sign-ins that cannot be read: an export that lacks some would be trusted
// all the same.
func (b *Book) Export(names []string) ([]Saved, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unread != nil {
		return nil, b.unread
	}
	wanted := slices.Sorted(maps.Keys(b.entries))
	if len(names) > 0 {
		wanted = names
	}
	var all []Saved
	for _, name := range wanted {
		e := b.entries[name]
		switch {
		case e != nil && e.signedIn:
			all = append(all, e.rec.save(name))
		case len(names) > 0:
			return nil, token.NewError(token.KindSignInRequired, "export", fmt.Sprintf("Account %s is not signed in on this machine, so there is nothing of it to export.", name))
		}
	}
	if len(all) == 0 {
		return nil, token.NewError(token.KindSignInRequired, "export", "No account is signed in on this machine, so there is nothing to export; run: broker login")
	}
	return all, nil
}

// save is the record as it is kept elsewhere.
func (r record) save(name string) Saved {
	s := Saved{Name: name, Grant: r.grant}
	if len(r.learned) > 0 {
		s.Learned, _ = json.Marshal(learnedOut(r.learned)) // names and numbers cannot fail
	}
	return s
}

// record is what is kept here of a sign-in from elsewhere.
func (s Saved) record() record {
	var learned map[string]learnedJSON
	_ = json.Unmarshal(s.Learned, &learned) // what cannot be read is worth less than the sign-in
	return record{name: s.Name, grant: s.Grant, generation: 1, learned: learnedIn(learned, s.Grant.SignedInOn)}
}
