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
	case !now.Before(l.dueOn(s)):
		return Due
	default:
		return Fresh
	}
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
	s.Failed, s.Account, s.ProbeFails, s.Failures, s.HResult = false, false, 0, 0, 0
	s.Pending = nil
}

// fail notes an authentication error. The first one after a proof tells how long
// access lasts; one that comes right after a proof of our own says that the
// service is not helped by what helps Outlook.
func (s *State) fail(ev Event, now time.Time, l Limits) {
	s.HResult = ev.HResult
	s.Account = ev.Class == ClassAccount
	if s.Failed {
		return
	}
	s.Failed, s.LastFailure = true, now
	age := stretch(s.LastProof, now)
	switch {
	case s.LastProof.IsZero():
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

// causes looks, while the machine is idle, for a reason to renew.
func (s *State) causes(in Input, now time.Time) {
	l := in.Limits
	switch fresh := freshnessOf(*s, l, now); {
	case s.Pending != nil, !in.Sight.Known:
	case s.LastProof.IsZero() && s.BlindSince.IsZero() && !s.Failed:
		s.want(CauseFirst, now)
	case fresh == Due && !s.probing(in, now):
		s.want(CauseAge, now)
	case in.Target.Policy == Supervise && stretch(s.AbsentSince, now) >= l.Gone:
		s.want(CauseGone, now)
	}
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
	case !s.canProbe(in), unanswered, freshnessOf(*s, in.Limits, now) != Due:
		return false
	case s.ProbeFails == 1:
		return stretch(s.ProbeOn, now) >= in.Limits.ProbeAgain
	default:
		return s.ProbeOn.IsZero() || stretch(s.ProbeOn, now) >= in.Limits.ProbeEvery
	}
}

func (s *State) canProbe(in Input) bool {
	return in.Target.Probe && !s.ProbeUnusable && in.Sight.Agent
}
