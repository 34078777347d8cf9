package httpapi

import (
	"context"
	"testing"
)

func TestNotificationsAreTested(t *testing.T) {
	var outcomes []NotifyOutcome
	s := newStack(t, func(c *Config) { c.NotifyTest = func(context.Context) []NotifyOutcome { return outcomes } })
	post := call{method: "POST", path: "/v1/notify/test", key: s.admin}
	golden(t, "notify-test-none", s.do(post))
	outcomes = []NotifyOutcome{
		{Sink: NotifyOutcomeSinkWebhook, Ok: true, Text: "hooks.example.com took the test event."},
		{Sink: NotifyOutcomeSinkCommand, Text: "The command ended with exit code 1."},
	}
	golden(t, "notify-test", s.do(post))
	want[Problem](s, s.do(call{method: "POST", path: "/v1/notify/test", key: s.crm}), 403)

	off := newStack(t)
	if got := want[NotifyTest](off, off.do(call{method: "POST", path: "/v1/notify/test", key: off.admin}), 200); len(got.Outcomes) > 0 {
		t.Errorf("%+v", got)
	}
}
