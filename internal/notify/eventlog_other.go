//go:build !windows

package notify

// eventLogWriter is nil: only Windows has an event log.
func eventLogWriter() func(Event) error { return nil }
