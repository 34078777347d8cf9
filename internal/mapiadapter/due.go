package mapiadapter

import "time"

// freshnessOf is what is known of the consumer's access at now. Not seeing
// lowers it to unknown, unless something proved the access since.
func freshnessOf(s State, l Limits, now time.Time) Freshness {
	switch {
	case s.Failed:
		return Expired
	case s.LastProof.IsZero(), !s.BlindSince.IsZero() && s.LastProof.Before(s.BlindSince):
		return Unknown
	case s.needed(l, now):
		return Due
	default:
		return Fresh
	}
}

// needed reports whether access is to be renewed: it was refused, never proved,
// or its proof is too old. Not seeing has no part in it, and so causes nothing.
func (s *State) needed(l Limits, now time.Time) bool {
	return s.Failed || s.LastProof.IsZero() || s.aged(l, now)
}

// aged reports whether the last proof is too old, and nothing else is wrong.
func (s *State) aged(l Limits, now time.Time) bool {
	return !s.Failed && !s.LastProof.IsZero() && !now.Before(l.dueOn(*s))
}

// lifetime is how long access lasts after a proof, as far as we know.
func (l Limits) lifetime(s State) time.Duration {
	if s.Lifetime == 0 {
		return l.LifetimeFirst
	}
	return s.Lifetime
}

// dueOn is when the last proof becomes too old.
func (l Limits) dueOn(s State) time.Time {
	return s.LastProof.Add(time.Duration(l.DueShare * float64(l.lifetime(s))))
}

// prove notes that access works.
func (s *State) prove(kind ProofKind, on, now time.Time, l Limits) {
	if kind == ProofConsumer {
		s.Refuted = 0
		if age := stretch(s.LastProof, now); !s.Failed && age > l.lifetime(*s) {
			s.Lifetime = min(age, l.LifetimeMax) // it lasts longer than we thought
		}
	}
	if s.LastProof.IsZero() || on.After(s.LastProof) || s.Failed {
		s.LastProof, s.Proof = on, kind
	}
	s.Failed, s.Account, s.ProbeFails, s.Failures, s.Deferred, s.HResult = false, false, 0, 0, 0, 0
	s.Pending = nil
}

// fail notes an authentication error. The first one after a proof tells how long
// access lasts; one that comes right after a proof of our own says that the
// service is not helped by what helps Outlook.
func (s *State) fail(ev Event, now time.Time, l Limits) {
	s.HResult = ev.HResult
	s.Account = ev.Class == ClassAccount
	first := !s.Failed
	if first || stretch(s.LastFailure, now) >= l.Debounce {
		s.Failed, s.LastFailure = true, now
	}
	age := stretch(s.LastProof, now)
	switch {
	case !first, s.LastProof.IsZero():
	case age < l.Refute:
		if s.Proof != ProofConsumer {
			s.Refuted++
		}
	default:
		s.Refuted = 0
		s.Lifetime = min(max(age, l.LifetimeMin), l.LifetimeMax)
	}
}

// want makes a cause for the next attempt. One that waits is enough.
func (s *State) want(kind CauseKind, now time.Time) {
	if s.Pending == nil {
		s.Serial++
		s.Pending = &Cause{ID: serial("c", s.Serial), Kind: kind, On: now}
	}
}

// causes looks for a reason to renew.
func (s *State) causes(in Input, now time.Time) {
	l, w := in.Limits, in.Sight
	switch {
	case s.Pending != nil, !w.Known:
	case s.Failed:
		s.refusal(l, now)
	case !w.Agent: // what nobody looks at is no reason
	case s.LastProof.IsZero():
		s.want(CauseFirst, now)
	case s.aged(l, now) && !s.probing(in, now):
		s.want(CauseAge, now)
	case gone(*s, in, now):
		s.want(CauseGone, now)
	}
}

// refusal makes a cause of a probe that failed twice, or of a consumer's report,
// once within the time of Debounce.
func (s *State) refusal(l Limits, now time.Time) {
	switch {
	case s.ProbeFails >= 2:
		s.want(CauseProbe, now)
	case s.Reported.IsZero() || now.Sub(s.Reported) >= l.Debounce:
		s.Reported = now
		s.want(CauseReport, now)
	}
}

// gone reports whether Outlook is missing where it is meant to run all the time.
func gone(s State, in Input, now time.Time) bool {
	return in.Target.Policy == Supervise && !s.AbsentSince.IsZero() && now.Sub(s.AbsentSince) >= in.Limits.Gone
}

// stands reports whether a cause is still one. What was asked for by force is;
// else there is nothing to do where access turned out to be well.
func (s *State) stands(c Cause, in Input, now time.Time) bool {
	return c.Force || s.needed(in.Limits, now) || c.Kind == CauseGone && in.Sight.Outlook == OutlookAbsent
}

// probing reports whether the probe is to be heard first: it may renew the
// access by itself, and then nobody needs Outlook.
func (s *State) probing(in Input, now time.Time) bool {
	switch {
	case !s.canProbe(in):
		return false
	case s.ProbeAskedOn.After(s.ProbeOn):
		return stretch(s.ProbeAskedOn, now) < in.Limits.ProbeTime
	default:
		return s.ProbeFails == 1 || s.ProbeOn.IsZero() || stretch(s.ProbeOn, now) >= in.Limits.ProbeEvery
	}
}

// askProbe reports whether the probe is to be run now: when access is due, and
// once more to confirm that it failed.
func (s *State) askProbe(in Input, now time.Time) bool {
	unanswered := s.ProbeAskedOn.After(s.ProbeOn) && stretch(s.ProbeAskedOn, now) < in.Limits.ProbeEvery
	switch {
	case !s.canProbe(in), unanswered, !s.aged(in.Limits, now):
		return false
	case s.ProbeFails == 1:
		return stretch(s.ProbeOn, now) >= in.Limits.ProbeAgain
	default:
		return s.ProbeOn.IsZero() || stretch(s.ProbeOn, now) >= in.Limits.ProbeEvery
	}
}

// canProbe reports whether the answer of a probe would mean anything: an Outlook
// that is starting or hangs holds the lock that every MAPI logon waits for.
func (s *State) canProbe(in Input) bool {
	w := in.Sight
	seen := w.Outlook != OutlookDeaf && w.Outlook != OutlookUnknown
	return in.Target.Probe && !s.ProbeUnusable && w.Agent && seen && w.Obstacle == ReasonNone
}
