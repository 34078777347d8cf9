package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// scene is the desktop of a story that has a scripted one.
func scene(w *outlook) *scripted {
	s, _ := w.desk.(*scripted) // these stories have no other
	return s
}

// renewals are the stories in which nobody kills the broker.
func renewals() []story {
	return []story{
		{"ensure, one start, fresh; an error, and Office renews", nil, true, startsOnce},
		{"an error, and the Outlook that runs is asked", map[string]any{"running": outlookProfile}, true, asksWhatRuns},
		{"the agent is killed, given up after 75 s, and back", nil, false, losesTheAgent},
	}
}

func startsOnce(ctx context.Context, w *outlook) error {
	return steps(
		ctx,
		w.begin,
		w.mapi("ensure", "--wait", "50s"),
		w.did(acts{starts: 1}),
		w.ensure(http.StatusOK, ""),
		w.mapi("report", "--hresult", refusal, "--operation", "OpenMsgStore"),
		w.is("expired"),
		w.at("backoff", "budget"),
		w.ensure(http.StatusServiceUnavailable, "mapi-backoff"),
		func(context.Context) error { return w.desk.renew() },
		w.is("fresh"),
		w.did(acts{starts: 1}),
		w.went("precheck", "trigger", "observe", "idle", "precheck", "backoff", "idle"),
	)
}

func asksWhatRuns(ctx context.Context, w *outlook) error {
	return steps(
		ctx,
		w.serve,
		w.mapi("report", "--ok"),
		w.startAgent,
		w.heard,
		w.is("fresh"),
		w.did(acts{}),
		w.mapi("report", "--hresult", refusal),
		w.mapi("ensure", "--wait", "50s"),
		w.did(acts{sends: 1}),
		w.went("precheck", "trigger", "observe", "idle"),
	)
}

// went checks the way, by the command: as JSON, and as people see it.
func (w *outlook) went(want ...string) step {
	return func(ctx context.Context) error {
		all, err := w.history(ctx)
		if err != nil {
			return err
		}
		if got := way(all); !slices.Equal(got, want) {
			return fmt.Errorf("the target went %v, want %v", got, want)
		}
		text, err := w.must(ctx, "mapi", "history", outlookTarget, "-n", "1000")
		if err == nil && (!strings.Contains(text, "precheck -> trigger") || !strings.Contains(text, "observe -> idle")) {
			err = fmt.Errorf("broker mapi history does not show the way:\n%s", text)
		}
		return err
	}
}

// losesTheAgent has the waits of a real desktop.
func losesTheAgent(ctx context.Context, w *outlook) error {
	var killed time.Time
	return steps(
		ctx,
		w.begin,
		w.is("fresh"),
		func(context.Context) error { w.agent.kill(); killed = time.Now(); return nil },
		w.at("wait_agent"),
		func(context.Context) error {
			// It may have been heard of last a long look before it was killed.
			if after := time.Since(killed); after < 40*time.Second {
				return fmt.Errorf("the agent was given up after %v", after)
			}
			return nil
		},
		w.ensure(http.StatusServiceUnavailable, "mapi-no-session"),
		w.is("unknown"),
		w.startAgent,
		w.is("fresh"),
		w.at("idle"),
		w.did(acts{starts: 1}),
	)
}
