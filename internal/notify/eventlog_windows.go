package notify

import (
	"errors"

	"golang.org/x/sys/windows/svc/eventlog"
)

// eventSource is our name in the Windows event log. Where an installer has not
// registered it, Windows writes the events all the same, to the Application log,
// and shows them with a remark that the description is missing.
const eventSource = "M365TokenBroker"

// eventLogWriter writes one event. The source is opened each time: events are
// rare, and the event log's service may be restarted in between.
func eventLogWriter() func(Event) error {
	return func(e Event) (err error) {
		log, err := eventlog.Open(eventSource)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		id, text := uint32(e.ID), e.page()
		switch e.Severity {
		case Error:
			return log.Error(id, text)
		case Warning:
			return log.Warning(id, text)
		case Info:
		}
		return log.Info(id, text)
	}
}
