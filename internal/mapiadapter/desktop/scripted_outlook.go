package desktop

import (
	"slices"
	"time"
)

const (
	ownSessionID   = 1
	otherSessionID = 2

	// Outlook comes into the running object table some time after its start; a
	// desktop without it answers MK_E_UNAVAILABLE. Source: GetActiveObject.
	registersAfter = 2 * time.Second
	// With UseNewOutlook=1 OUTLOOK.EXE starts olk.exe and ends, without having
	// come into that table. Measured by others, see docs/mapi.md.
	handsOverAfter = 500 * time.Millisecond

	accessViolation = 0xC0000005 // STATUS_ACCESS_VIOLATION
	migrationSteps  = 3          // launches until DoNewOutlookAutoMigration is done; source: Microsoft 365 Apps, admin-controlled migration
)

// Of OlExchangeConnectionMode.
const (
	modeOffline      = 100 // olOffline
	modeDisconnected = 300 // olDisconnected
	modeConnected    = 500 // olCachedConnectedHeaders; higher ones are connected too
)

// scriptedOutlook is the classic Outlook of the session.
type scriptedOutlook struct {
	process   Process
	profile   string
	does      StartScript
	ours      bool      // Start started it
	began     time.Time // its way to a connection: its start, or when a person had answered it
	connected bool
	renewals  []time.Time // when a token cache is written
}

// arrives is when it does what it does.
func (o *scriptedOutlook) arrives() time.Time { return o.began.Add(o.does.After) }

// ends is when it ends by itself or by a person, and with which code.
func (o *scriptedOutlook) ends() (on time.Time, code uint32, does bool) {
	switch o.does.Does {
	case Crashes:
		on, code, does = o.arrives(), o.does.ExitCode, true
		if code == 0 {
			code = accessViolation
		}
	case HandsOver:
		on, does = o.began.Add(handsOverAfter), true
	default: // it goes on
	}
	if closed := o.process.StartedOn.Add(o.does.ClosedAfter); o.does.ClosedAfter > 0 && (!does || closed.Before(on)) {
		on, code, does = closed, 0, true
	}
	return on, code, does
}

// asking is what its windows ask at now.
func (o *scriptedOutlook) asking(now time.Time) Asking {
	if now.Before(o.arrives()) {
		return AskingNothing
	}
	switch o.does.Does {
	case AsksSignIn:
		return AskingSignIn
	case AsksFirst:
		return AskingFirst
	case AsksProfile:
		return AskingProfile
	case AsksDialog:
		return AskingDialog
	default:
		return AskingNothing
	}
}

// view is what it says of itself at now. While a box is open, or it hangs, calls
// are turned away (RPC_E_CALL_REJECTED). One with more rights than its caller is
// not to be found in the running object table.
func (o *scriptedOutlook) view(now time.Time) View {
	v := View{Asked: true}
	registers := o.process.StartedOn.Add(min(registersAfter, o.does.After/2))
	asking := o.asking(now)
	switch {
	case o.process.Elevated, now.Before(registers), o.does.Does == HandsOver:
		v.Failure = FailureAbsent
	case o.does.Does == Hangs, asking != AskingNothing && asking != AskingSignIn:
		v.Failure = FailureBusy
	case o.connected:
		v.Profile, v.Mode = o.profile, modeConnected
	case asking == AskingSignIn, o.does.Does == StaysOffline && !now.Before(o.arrives()):
		v.Profile, v.Mode = o.profile, modeDisconnected
	default:
		v.Profile, v.Mode = o.profile, modeOffline
	}
	return v
}

// launch makes a process of classic Outlook in this session. One that has to
// ask, asks: for the profile where PickLogonProfile says so, for a sign-in
// where there is no renewing without one.
func (s *Scripted) launch(now time.Time, profile string, does StartScript) *scriptedOutlook {
	if s.script.Installation.Migrating {
		if s.launches++; s.launches >= migrationSteps {
			does.Does, s.migrated = HandsOver, true
		}
	}
	switch {
	case does.Does != Connects:
	case s.script.Profiles.Asks:
		does.Does = AsksProfile
	case s.script.SignInNeeded:
		does.Does = AsksSignIn
	}
	return &scriptedOutlook{process: s.process(now, ClassicOutlook, ownSessionID), profile: profile, does: does, began: now}
}

func (s *Scripted) process(now time.Time, product Product, session uint32) Process {
	s.pid += 4 // Windows numbers processes in fours
	return Process{PID: s.pid, Product: product, SessionID: session, StartedOn: now}
}

// advance lets happen what is due by now, in the order of its time.
func (s *Scripted) advance(now time.Time) {
	o := s.here
	if o == nil {
		return
	}
	end, code, ends := o.ends()
	until := now
	if ends && end.Before(now) {
		until = end
	}
	if !o.connected && o.does.Does == Connects && !o.arrives().After(until) {
		o.connected = true
		s.wrote(o.arrives())
	}
	o.renewals = slices.DeleteFunc(o.renewals, func(due time.Time) bool {
		if due.After(until) {
			return false
		}
		s.wrote(due)
		return true
	})
	if ends && !end.After(now) {
		s.end(end, code)
	}
}

// wrote is Office writing a token cache.
func (s *Scripted) wrote(on time.Time) {
	if on.After(s.cacheOn) {
		s.cacheOn = on
	}
}

// end ends the Outlook of the session, here and for other processes.
func (s *Scripted) end(on time.Time, code uint32) {
	s.note(Act{On: on, Did: DidEnd, PID: s.here.process.PID, ExitCode: code})
	s.gone(on, code)
}

// gone is the end of the Outlook of the session.
func (s *Scripted) gone(on time.Time, code uint32) {
	o := s.here
	s.here = nil
	if o.does.Does == HandsOver && !slices.ContainsFunc(s.others, func(p Process) bool { return p.Product == NewOutlook }) {
		s.others = append(s.others, s.process(on, NewOutlook, ownSessionID))
	}
	if o.ours {
		s.ended = append(s.ended, Ended{PID: o.process.PID, ExitCode: code, On: on})
	}
}
