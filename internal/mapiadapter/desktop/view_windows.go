package desktop

import (
	"context"
	"errors"
	"strings"

	"github.com/go-ole/go-ole"
	"github.com/go-ole/go-ole/oleutil"
)

// What is read here is read of NameSpace only, where neither property is behind
// Outlook's object model guard: Account and Recipient would make it ask the
// person for leave. Nothing is logged on and nothing is closed.

// view is what the Outlook of this session says of itself.
func (o *outlook) view(ctx context.Context) View {
	seen, err := take(ctx, o, func(t *turn) (View, error) {
		return inSession(t, func(session *ole.IDispatch) (View, error) {
			profile, err := t.read(session, "CurrentProfileName")
			if err != nil {
				return View{}, err
			}
			mode, err := t.read(session, "ExchangeConnectionMode")
			if err != nil {
				return View{}, err
			}
			// Variants of another type, which a real Outlook does not send, stay empty.
			name, _ := profile.(string)
			number, _ := mode.(int32)
			return View{Profile: name, Mode: int(number)}, nil
		})
	})
	seen.Asked = true
	if failed, ok := errors.AsType[*CallError](err); ok {
		seen.Failure = failed.Failure
	}
	return seen
}

// sendAndReceive asks the Outlook of this session for one silent send and
// receive of all accounts. Outlook does it later, in its own time. The errors
// are *Refusal where it runs with another profile, else *CallError. After
// FailureNoAnswer it may have been asked or not; it is not asked any more.
func (o *outlook) sendAndReceive(ctx context.Context, profile string) error {
	_, err := take(ctx, o, func(t *turn) (struct{}, error) {
		return inSession(t, func(session *ole.IDispatch) (struct{}, error) {
			running, err := t.read(session, "CurrentProfileName")
			if err != nil {
				return struct{}{}, err
			}
			// Names of profiles are names of registry keys, which have no case.
			if name, _ := running.(string); !strings.EqualFold(name, profile) {
				return struct{}{}, &Refusal{
					Reason: RefusedProfile,
					Detail: "Outlook runs with another profile: close it, or name the profile that it runs with.",
				}
			}
			return struct{}{}, t.call(func() error {
				result, err := oleutil.CallMethod(session, "SendAndReceive", false)
				clearVariant(result)
				return err
			})
		})
	})
	return err
}
