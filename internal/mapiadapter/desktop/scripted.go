package desktop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Scripted is a Desktop without Windows: a world in memory that behaves as its
// Script and the methods that change it say. The demo and the tests use it. What
// it does by itself is what Microsoft's documents and others' measurements say
// of Outlook; each place names its source.
//
// It holds the caller to what must never be done to Outlook: whatever of that
// is tried is refused as on Windows, and noted, see Violations. World changes
// that are due at a time happen when the world is next looked at, in the order
// of their times. It is safe for concurrent use.
type Scripted struct {
	now  func() time.Time
	file *scriptFile // nil: the script is in memory only

	mu         sync.Mutex // guards what follows, and the files
	script     Script
	logon      int // how many logons there have been
	logonOn    time.Time
	here       *scriptedOutlook // classic Outlook in this session
	others     []Process        // new Outlook, and Outlook of this account in other sessions
	ended      []Ended
	cacheOn    time.Time
	launches   int  // of classic Outlook while Installation.Migrating
	migrated   bool // to new Outlook, by as many
	pid        uint32
	starts     int
	sends      int
	notices    []Notice
	violations []Violation
}

// Violation is something that must never be done, and that was tried.
type Violation struct {
	On     time.Time
	Reason string // Refused…, or ViolatedArguments or ViolatedTwice
	Detail string
}

// What is a violation besides what Start refuses.
const (
	ViolatedArguments = "arguments" // other ones than those of Arguments
	ViolatedTwice     = "twice"     // two processes started an Outlook at the same time
)

var (
	errNobody      = errors.New("nobody is logged on: log on as the account, and leave the session locked")
	errStartFailed = errors.New("start Outlook: the script lets it fail")
)

// NewScripted is the world of script, with now as its clock; nil is time.Now.
func NewScripted(script Script, now func() time.Time) *Scripted {
	if now == nil {
		now = time.Now
	}
	s := &Scripted{now: now, pid: 4096}
	s.begin(script)
	return s
}

// begin makes the world at its beginning: the account logged on an hour ago.
func (s *Scripted) begin(script Script) {
	now := s.now()
	s.script = Script{Seat: script.Seat}.whole()
	s.logon, s.logonOn = 1, now.Add(-time.Hour)
	s.apply(now, script)
}

// Look implements Desktop. The error is for nobody being logged on, and for a
// script that cannot be read.
func (s *Scripted) Look(ctx context.Context, want Want) (Facts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.look(ctx)
	if err != nil {
		return Facts{}, err
	}
	f := Facts{
		SeenOn: now, Host: s.script.Host, Account: s.script.Account, SID: s.script.SID,
		Session: s.session(now), Installation: s.installation(), Profiles: s.script.Profiles,
		Processes: slices.Clone(s.others), Ended: slices.Clone(s.ended), CacheOn: s.cacheOn,
		Services: map[string]Service{},
	}
	f.Profiles.Names = slices.Clone(f.Profiles.Names)
	if s.here != nil {
		f.Processes = append(f.Processes, s.here.process)
		if s.script.Seat != SeatService { // a service sees no window of a session, and no COM object of it
			f.View, f.Asking = s.here.view(now), s.here.asking(now)
		}
	}
	for _, name := range want.Services {
		if service, ok := s.script.Services[name]; ok {
			f.Services[name] = service
		}
	}
	return f, nil
}

// look brings the world up to now.
func (s *Scripted) look(ctx context.Context) (time.Time, error) {
	now := s.now()
	if err := ctx.Err(); err != nil {
		return now, err
	}
	if err := s.refresh(now); err != nil {
		return now, err
	}
	s.advance(now)
	if err := s.flush(); err != nil {
		return now, err
	}
	if s.script.Seat == SeatNobody {
		return now, errNobody
	}
	return now, nil
}

// session is this session. A locked one is still active, only flagged as locked.
// Source: Windows, WTS_CONNECTSTATE_CLASS and WTSINFOEX_LEVEL1.
func (s *Scripted) session(now time.Time) Session {
	if s.script.Seat == SeatService {
		return Session{State: SessionOther}
	}
	state := SessionActive
	if s.script.Seat == SeatDisconnected {
		state = SessionDisconnected
	}
	input := s.logonOn
	if s.script.InUse {
		input = now
	}
	return Session{
		ID: ownSessionID, State: state, Locked: s.script.Seat == SeatLocked,
		LogonID: fmt.Sprintf("%x", 0x10000*s.logon), LogonOn: s.logonOn, LastInputOn: input,
	}
}

// Here is where a process of this world runs, as Here says of Windows: in the
// session of the account, or in none. The error is for a script that cannot be
// read.
func (s *Scripted) Here(ctx context.Context) (Where, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.look(ctx)
	if err != nil && !errors.Is(err, errNobody) {
		return Where{}, err
	}
	w := Where{SID: s.script.SID, Account: s.script.Account, Host: s.script.Host}
	if err == nil && s.script.Seat != SeatService {
		w.SessionID, w.Interactive = s.session(now).ID, true
	}
	return w, nil
}

// Sessions are the account's sessions, as a service sees them.
func (s *Scripted) Sessions(ctx context.Context, sid string) ([]Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.look(ctx)
	if errors.Is(err, errNobody) || (err == nil && (s.script.Seat == SeatService || sid != s.script.SID)) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []Session{s.session(now)}, nil
}

// Start implements Desktop: it refuses what the Windows one refuses, with the
// same reasons in the same order.
func (s *Scripted) Start(ctx context.Context, profile string) (Process, error) {
	return s.run(ctx, profile, Arguments(profile))
}

// run starts Outlook with the arguments, which are looked at by their own text:
// nothing but /recycle and /profile has ever been harmless.
func (s *Scripted) run(ctx context.Context, profile string, arguments []string) (Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.look(ctx)
	if err != nil {
		return Process{}, err
	}
	if refused := s.mayStart(profile, arguments); refused != nil {
		if err := s.record(Act{On: now, Did: DidRefuse, Profile: profile, Reason: refused.Reason}); err != nil {
			return Process{}, err
		}
		return Process{}, refused
	}
	if s.script.Start.Does == Fails {
		if err := s.record(Act{On: now, Did: DidFail, Profile: profile}); err != nil {
			return Process{}, err
		}
		return Process{}, errStartFailed
	}
	s.here = s.launch(now, profile, s.script.Start)
	s.here.ours = true
	s.starts++
	started := s.here.process // before a crash at once ends it
	return started, s.record(Act{On: now, Did: DidStart, Profile: profile, PID: started.PID, Does: s.script.Start})
}

// mayStart is the Windows one's list of what must never be.
func (s *Scripted) mayStart(profile string, arguments []string) *Refusal {
	switch {
	case s.script.Seat == SeatService:
		return s.violated(RefusedService, "A service has no desktop for Outlook: run the agent in a session of the account.")
	case s.script.Installation.Path == "":
		return &Refusal{Reason: RefusedNoOutlook, Detail: "Classic Outlook is not installed on this machine: install it, as Extended MAPI comes with it."}
	case s.installation().NewInUse:
		return &Refusal{Reason: RefusedNewOutlook, Detail: "This account uses new Outlook, which has no MAPI: switch it back to classic Outlook."}
	}
	if refused := checkProfile(profile, s.script.Profiles.Names); refused != nil {
		return s.violated(refused.Reason, refused.Detail)
	}
	if !slices.Equal(arguments, []string{"/recycle", "/profile", profile}) {
		return s.violated(ViolatedArguments, fmt.Sprintf("Outlook was to be started with %q.", arguments))
	}
	if s.here != nil || slices.ContainsFunc(s.others, func(p Process) bool { return p.Product == ClassicOutlook }) {
		return s.violated(RefusedRunning, "Outlook runs for this account already, and a second one is never started beside it.")
	}
	return nil
}

func (s *Scripted) violated(reason, detail string) *Refusal {
	on := s.now()
	s.violations = append(s.violations, Violation{On: on, Reason: reason, Detail: detail})
	s.note(Act{On: on, Did: DidViolate, Reason: reason})
	return &Refusal{Reason: reason, Detail: detail}
}

// SendAndReceive implements Desktop. Outlook takes the order and works at it
// later. Source: Outlook object model, NameSpace.SendAndReceive.
func (s *Scripted) SendAndReceive(ctx context.Context, profile string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.look(ctx)
	if err != nil {
		return err
	}
	if s.here == nil || s.script.Seat == SeatService {
		return &Refusal{Reason: RefusedNotRunning, Detail: "Outlook does not run in this session: start it with the profile first."}
	}
	view := s.here.view(now)
	switch {
	case view.Failure != "":
		return &CallError{Failure: view.Failure}
	case !strings.EqualFold(view.Profile, profile): // names of registry keys, which have no case
		return &Refusal{Reason: RefusedProfile, Detail: "Outlook runs with another profile: close it, or name the profile that it runs with."}
	}
	s.sends++
	act := Act{On: now, Did: DidSend, Profile: profile, PID: s.here.process.PID}
	if s.script.Send.Does != SendsNothing && s.here.connected { // else it can do nothing with it
		act.Due = now.Add(s.script.Send.After)
		s.here.renewals = append(s.here.renewals, act.Due)
	}
	return s.record(act)
}

// Notice implements Desktop. Nobody answers in a locked or disconnected session.
// Its waits are those of the time package, whatever clock the world has.
func (s *Scripted) Notice(ctx context.Context, n Notice) (Answer, error) {
	answer, wait, err := s.show(ctx, n)
	if err != nil || n.Wait <= 0 {
		return AnswerNone, err
	}
	timer := time.NewTimer(min(wait, n.Wait))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return AnswerNone, ctx.Err()
	case <-timer.C:
	}
	if wait > n.Wait {
		answer = AnswerNone
	}
	return answer, nil
}

// show says what a person will answer to the notice, and after how long.
func (s *Scripted) show(ctx context.Context, n Notice) (Answer, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.look(ctx)
	if err != nil {
		return AnswerNone, 0, err
	}
	answer, wait := s.script.Notice.Answer, s.script.Notice.After
	switch {
	case answer == AnswerNone, s.script.Seat != SeatActive:
		answer, wait = AnswerNone, n.Wait
	case !n.Ask:
		answer = AnswerOK
	}
	s.notices = append(s.notices, n)
	return answer, wait, s.record(Act{On: now, Did: DidNotice})
}
