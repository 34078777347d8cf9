package desktop

import (
	"slices"
	"time"
)

// Change changes the script from outside, and the world with it: what differs
// from before happens now. A profile in Running is opened by a person, and an
// emptied one closed by a person.
func (s *Scripted) Change(change func(*Script)) {
	s.outside(func(now time.Time) {
		script := s.script
		change(&script)
		s.apply(now, script)
	})
}

// SetSession moves the account, or this process, to another seat.
func (s *Scripted) SetSession(seat Seat) { s.Change(func(c *Script) { c.Seat = seat }) }

// SetNewOutlook sets UseNewOutlook. While it is set Start refuses; to have
// OUTLOOK.EXE hand over nevertheless, let Start do HandsOver.
func (s *Scripted) SetNewOutlook(inUse bool) {
	s.outside(func(time.Time) {
		s.script.Installation.NewInUse = inUse
		s.switched()
	})
}

// SignInNeeded says that Outlook cannot renew without a person, or that the
// person has signed in.
func (s *Scripted) SignInNeeded(needed bool) { s.Change(func(c *Script) { c.SignInNeeded = needed }) }

// OnStart says what the next started Outlook does.
func (s *Scripted) OnStart(does StartScript) { s.Change(func(c *Script) { c.Start = does }) }

// RunOutlook has a person open Outlook in this session with the profile; it is
// connected at once. Where Outlook runs already the person gets that one: there
// is one process, and one profile. Source: Outlook object model, NameSpace.Logon.
func (s *Scripted) RunOutlook(profile string) {
	s.outside(func(now time.Time) { s.person(now, profile) })
}

// RunElevated is RunOutlook as administrator.
func (s *Scripted) RunElevated(profile string) {
	s.outside(func(now time.Time) {
		s.person(now, profile)
		if s.here != nil {
			s.here.process.Elevated = true
		}
	})
}

// CloseByPerson has the person close the Outlook of this session, if it runs.
func (s *Scripted) CloseByPerson() { s.outside(s.closeHere) }

// AnswerWindow has the person answer what a window of Outlook asks, so that it
// goes on and connects.
func (s *Scripted) AnswerWindow() { s.outside(s.answered) }

// Renew has Office write a token cache, as it does by itself.
func (s *Scripted) Renew() { s.outside(s.wrote) }

// Starts is how many Outlooks this Scripted has started.
func (s *Scripted) Starts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts
}

// Sends is how often an Outlook took the order to send and receive.
func (s *Scripted) Sends() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sends
}

// Notices are those that were shown, the oldest first.
func (s *Scripted) Notices() []Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notices)
}

// Violations is what must never be done, and was tried all the same.
func (s *Scripted) Violations() []Violation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// outside changes the world, once all is done that was due before. A file that
// cannot be read is left for the next Look to complain of.
func (s *Scripted) outside(change func(now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	_ = s.refresh(now)
	s.advance(now)
	change(now)
	s.advance(now)
	_ = s.flush()
}

// apply makes script the script, and what differs from before happen.
func (s *Scripted) apply(now time.Time, script Script) {
	before := s.script
	s.script = script.whole()
	after := s.script
	if before.Seat != after.Seat {
		s.reseat(now, before.Seat)
	}
	if before.Installation.NewInUse != after.Installation.NewInUse {
		s.switched()
	}
	if before.Elsewhere != after.Elsewhere {
		s.leave(ClassicOutlook, otherSessionID)
		if after.Elsewhere != "" {
			s.others = append(s.others, s.process(now, ClassicOutlook, otherSessionID))
		}
	}
	if before.Running != after.Running {
		s.closeHere(now)
		if after.Running != "" {
			s.person(now, after.Running)
		}
	}
	if before.SignInNeeded != after.SignInNeeded {
		s.signIn(now)
	}
}

// switched follows UseNewOutlook: its switch in new Outlook closes that.
func (s *Scripted) switched() {
	s.migrated, s.launches = false, 0
	if !s.script.Installation.NewInUse {
		s.leave(NewOutlook, ownSessionID)
	}
}

// installation is what the registry says.
func (s *Scripted) installation() Installation {
	i := s.script.Installation
	i.NewInUse = i.NewInUse || s.migrated
	return i
}

// reseat follows a logon and a logoff. A logoff ends what runs in the session.
func (s *Scripted) reseat(now time.Time, before Seat) {
	switch {
	case s.script.Seat == SeatNobody:
		s.closeHere(now)
		s.leave(NewOutlook, ownSessionID)
	case before == SeatNobody:
		s.logon, s.logonOn = s.logon+1, now
	}
}

// leave ends what runs beside the Outlook of this session.
func (s *Scripted) leave(product Product, session uint32) {
	s.others = slices.DeleteFunc(s.others, func(p Process) bool { return p.Product == product && p.SessionID == session })
}

func (s *Scripted) person(now time.Time, profile string) {
	if s.here == nil && s.script.Seat != SeatNobody {
		s.here = s.launch(now, profile, StartScript{Does: Connects})
	}
}

func (s *Scripted) closeHere(now time.Time) {
	if s.here != nil {
		s.end(now, 0)
	}
}

// signIn asks for a sign-in, or has it done.
func (s *Scripted) signIn(now time.Time) {
	o := s.here
	switch {
	case o == nil:
	case s.script.SignInNeeded && o.does.Does == Connects:
		o.does.Does, o.connected, o.began = AsksSignIn, false, now.Add(-o.does.After)
	case !s.script.SignInNeeded && o.does.Does == AsksSignIn:
		s.answered(now)
	}
}

func (s *Scripted) answered(now time.Time) {
	if s.here != nil && s.here.asking(now) != AskingNothing {
		s.here.does.Does, s.here.began = Connects, now
	}
}
