package notify

import (
	"context"
	"fmt"
)

// eventLog writes to the Windows event log.
type eventLog struct{ write func(Event) error }

// EventLog writes one event to the Windows event log, at once and past the queue of
// a Notifier. It is nil where this system has none.
func EventLog() func(Event) error { return eventLogWriter() }

// newEventLog is nil where it is not wanted, or this system has none.
func (n *Notifier) newEventLog(wanted bool) sink {
	if !wanted || n.tools.write == nil {
		return nil
	}
	return &eventLog{write: n.tools.write}
}

func (*eventLog) where() string { return "The Windows event log" }

func (l *eventLog) deliver(_ context.Context, e Event) *failure {
	if e.ID < 1 || e.ID > 1000 {
		return &failure{text: fmt.Sprintf("The event log has no event %d; IDs go from 1 to 1000.", e.ID)}
	}
	if err := l.write(e); err != nil {
		return &failure{text: fmt.Sprintf("The Windows event log refuses the event: %v.", err), retry: true}
	}
	return nil
}
