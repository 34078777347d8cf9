package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

var errBroken = errors.New("broken")

func newGroup() (*Group, *bytes.Buffer) {
	var log bytes.Buffer
	return &Group{Log: slog.New(slog.NewTextHandler(&log, nil))}, &log
}

func untilStopped(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestRunEndsWithItsTasks(t *testing.T) {
	tests := map[string]struct {
		tasks []Task
		want  []string // parts of the error; none is no error
	}{
		"none":       {nil, nil},
		"all done":   {[]Task{{"a", func(context.Context) error { return nil }}, {"b", func(context.Context) error { return nil }}}, nil},
		"one breaks": {[]Task{{"api", func(context.Context) error { return errBroken }}, {"refresher", untilStopped}}, []string{"api: broken"}},
		"breaks while stopping": {[]Task{
			{"api", func(context.Context) error { return errBroken }},
			{"store", func(ctx context.Context) error { <-ctx.Done(); return errors.New("not flushed") }},
		}, []string{"api: broken", "store: not flushed"}},
		"cancelled by itself": {[]Task{{"odd", func(context.Context) error { return context.Canceled }}}, []string{"odd: context canceled"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := newGroup()
				err := g.Run(t.Context(), tt.tasks...)
				if len(tt.want) == 0 && err != nil {
					t.Fatal(err)
				}
				for _, want := range tt.want {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("got %v, want %q in it", err, want)
					}
				}
			})
		})
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		g, _ := newGroup()
		slow := Task{"slow", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(9 * time.Second)
			return context.Canceled
		}}
		if err := g.Run(ctx, slow, Task{"done at once", func(context.Context) error { return nil }}); err != nil {
			t.Error(err)
		}
	})
}

func TestPanicBecomesAnError(t *testing.T) {
	for name, value := range map[string]any{"text": "CANARY", "error": errors.New("CANARY"), "nil map": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, log := newGroup()
				err := g.Run(t.Context(), Task{"refresher", func(context.Context) error {
					if value == nil {
						noMap()["x"] = 1
					}
					panic(value)
				}}, Task{"api", untilStopped})
				if err == nil || !strings.Contains(err.Error(), "refresher: panicked") {
					t.Errorf("got %v", err)
				}
				if !strings.Contains(log.String(), "run_test.go") || !strings.Contains(log.String(), "task=refresher") {
					t.Errorf("the log has no stack:\n%s", log.String())
				}
				if strings.Contains(log.String()+err.Error(), "CANARY") {
					t.Error("the panic's value is shown")
				}
				if value == nil && !strings.Contains(log.String(), "nil map") {
					t.Errorf("the runtime's words are missing:\n%s", log.String())
				}
			})
		})
	}
}

func TestWatchdogWritesStacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := newGroup()
		hang := make(chan struct{})
		began := time.Now()
		err := g.Run(t.Context(),
			Task{"stuck", func(context.Context) error { waitForGodot(hang, [4]byte{0xca, 0xfe, 0xba, 0xbe}); return nil }},
			Task{"api", func(context.Context) error { return errBroken }})
		stuck, ok := errors.AsType[*StuckError](err)
		if !ok || !errors.Is(err, errBroken) || len(stuck.Tasks) != 1 || stuck.Tasks[0] != "stuck" {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != DefaultStopTimeout {
			t.Errorf("took %v", took)
		}
		if !strings.Contains(log.String(), "waitForGodot(...)") {
			t.Errorf("the log has no stack:\n%s", log.String())
		}
		close(hang)
	})
	goleak.VerifyNone(t)
}

func noMap() map[string]int { return nil }

//go:noinline
func waitForGodot(hang <-chan struct{}, _ [4]byte) { <-hang }

func TestWithoutArguments(t *testing.T) {
	in := "goroutine 7 [chan receive]:\nexample.com/p.(*T).Method(0xc000012345, {0xcafe, 0x1})\n\t/src/p/t.go:12 +0x1d\ncreated by example.com/p.New in goroutine 1\n\t/src/p/new.go:3 +0x2"
	want := "goroutine 7 [chan receive]:\nexample.com/p.(*T).Method(...)\n\t/src/p/t.go:12 +0x1d\ncreated by example.com/p.New in goroutine 1\n\t/src/p/new.go:3 +0x2"
	if got := withoutArguments(in); got != want {
		t.Errorf("got\n%s", got)
	}
}
