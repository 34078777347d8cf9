package mapiadapter

// Notice is a change that somebody may want to know of.
type Notice struct {
	Number int // the Windows event ID
	View   View
	Repeat int // 0: the phase is new; else the how-manieth reminder
}

// The Windows event IDs, as docs/mapi.md lists them.
const (
	noticeFresh       = 100
	noticeDue         = 110
	noticeTriggered   = 120
	noticeProof       = 130
	noticeBackoff     = 200
	noticeSuspended   = 210
	noticeNoSession   = 300
	noticeNoAgent     = 310
	noticeNeedsUser   = 320
	noticeUnsupported = 400
	noticeSession0    = 410
)

// numberOf is the event ID of a transition; 0 is none: it tells nobody anything.
func numberOf(s Step) int {
	switch s.To {
	case Idle:
		if s.Attempt != "" && s.Reason == ReasonNone {
			return noticeProof
		}
		return noticeFresh
	case Precheck:
		if s.From == Idle && s.Cause != "" {
			return noticeDue
		}
	case Trigger:
		return noticeTriggered
	default: // as for a reminder
	}
	return numbers[s.To]
}

// numbers are the event IDs of the phases that people are reminded of.
var numbers = map[Phase]int{
	Backoff: noticeBackoff, Suspended: noticeSuspended, WaitSession: noticeNoSession, WaitAgent: noticeNoAgent,
	NeedsUser: noticeNeedsUser, Unsupported: noticeUnsupported, Session0Broken: noticeSession0,
}
