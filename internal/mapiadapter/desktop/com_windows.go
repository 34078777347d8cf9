package desktop

import (
	"context"
	"errors"
	"runtime"
	"time"
	"unsafe"

	"github.com/go-ole/go-ole"
	"github.com/go-ole/go-ole/oleutil"
	"golang.org/x/sys/windows"
)

// outlook asks the Outlook of this session through COM. It attaches to one that
// runs and never starts one. Safe for concurrent use.
type outlook struct {
	class  ole.GUID      // of the object in the running object table
	budget time.Duration // for one operation, all its calls together
	again  time.Duration // between two tries of a call that Outlook rejected
	// turns holds one token for each operation under way. A call into a hanging
	// Outlook cannot be ended from here: it keeps its thread and its token until
	// it returns. With all tokens gone nothing is asked any more.
	turns chan struct{}
}

// outlookClass is the class ID of Outlook.Application, the same in every
// version. Taken as it is, so that a broken registration of the name does not
// matter.
var outlookClass = ole.GUID{Data1: 0x0006F03A, Data4: [8]byte{0xC0, 0, 0, 0, 0, 0, 0, 0x46}}

const (
	callBudget  = 10 * time.Second
	callAgain   = 250 * time.Millisecond
	callsAtOnce = 4
)

func newOutlook() *outlook {
	return &outlook{class: outlookClass, budget: callBudget, again: callAgain, turns: make(chan struct{}, callsAtOnce)}
}

// turn is one operation on its own thread.
type turn struct {
	ctx   context.Context
	class ole.GUID
	again time.Duration
}

// take runs work on a thread of its own and waits for it up to the budget. All
// errors are of type *CallError or *Refusal. What work holds it must release;
// work that comes back late finds its context ended and makes no further call.
func take[T any](ctx context.Context, o *outlook, work func(*turn) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, o.budget)
	defer cancel()
	type outcome struct {
		value T
		err   error
	}
	var nothing T
	select {
	case o.turns <- struct{}{}:
	default:
		return nothing, &CallError{Failure: FailureNoAnswer}
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { <-o.turns }()
		value, err := inApartment(func() (T, error) {
			return work(&turn{ctx: ctx, class: o.class, again: o.again})
		})
		done <- outcome{value, err}
	}()
	select {
	case got := <-done:
		return got.value, asCallError(got.err)
	case <-ctx.Done():
		return nothing, &CallError{Failure: FailureNoAnswer}
	}
}

// inApartment runs work on a thread in a single-threaded apartment, the kind
// that Outlook's own object lives in.
func inApartment[T any](work func() (T, error)) (T, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := ole.CoInitializeEx(0, ole.COINIT_APARTMENTTHREADED)
	if err != nil && codeOf(err) != uint32(windows.S_FALSE) { // S_FALSE: the thread is in one already
		var nothing T
		return nothing, err
	}
	defer ole.CoUninitialize()
	return work()
}

// call makes one call, and makes it again while Outlook rejects it. It does not
// begin one after the turn's time.
func (t *turn) call(one func() error) error {
	for {
		if t.ctx.Err() != nil {
			return &CallError{Failure: FailureNoAnswer}
		}
		err := one()
		if err == nil || !isRejection(codeOf(err)) {
			return err
		}
		// The last try ends in time, so that its answer is what the caller gets.
		if deadline, _ := t.ctx.Deadline(); time.Until(deadline) < 2*t.again {
			return err
		}
		pump(t.again)
	}
}

// inSession attaches to Outlook and hands its NameSpace to work. Both are let go
// of before it returns: a reference that is held keeps an Outlook alive that
// its user has closed.
func inSession[T any](t *turn, work func(*ole.IDispatch) (T, error)) (T, error) {
	var nothing T
	var running *ole.IUnknown
	err := t.call(func() (err error) {
		running, err = ole.GetActiveObject(&t.class, ole.IID_IUnknown)
		return err
	})
	if err != nil {
		return nothing, err
	}
	defer running.Release()
	var application *ole.IDispatch
	err = t.call(func() (err error) {
		application, err = running.QueryInterface(ole.IID_IDispatch)
		return err
	})
	if err != nil {
		return nothing, err
	}
	defer application.Release()
	var session *ole.VARIANT
	err = t.call(func() (err error) {
		session, err = oleutil.GetProperty(application, "Session")
		return err
	})
	if err != nil {
		return nothing, err
	}
	defer clearVariant(session)
	names := session.ToIDispatch()
	if names == nil {
		return nothing, &CallError{Failure: FailureOther}
	}
	return work(names)
}

// read is a property's value as Go has it: a string, or an integer type.
func (t *turn) read(object *ole.IDispatch, property string) (any, error) {
	var value any
	err := t.call(func() error {
		got, err := oleutil.GetProperty(object, property)
		if err == nil {
			value = got.Value()
		}
		clearVariant(got)
		return err
	})
	return value, err
}

// clearVariant frees what a result holds. Nothing can be done about a failure.
func clearVariant(v *ole.VARIANT) {
	if v != nil {
		_ = v.Clear()
	}
}

// codeOf is the HRESULT of an error of go-ole. An exception counts as what it
// was thrown for.
func codeOf(err error) uint32 {
	var refused *ole.OleError
	if !errors.As(err, &refused) {
		return 0
	}
	code := uint32(refused.Code()) // the upper half of the register is not part of it
	var thrown ole.EXCEPINFO
	if code == uint32(windows.DISP_E_EXCEPTION) && errors.As(refused.SubError(), &thrown) && thrown.SCODE() != 0 {
		return thrown.SCODE()
	}
	return code
}

func asCallError(err error) error {
	var failed *CallError
	var refused *Refusal
	if err == nil || errors.As(err, &failed) || errors.As(err, &refused) {
		return err
	}
	code := codeOf(err)
	return &CallError{Failure: failureOf(code), HResult: code}
}

var (
	comUser32          = windows.NewLazySystemDLL("user32.dll")
	comMsgWait         = comUser32.NewProc("MsgWaitForMultipleObjectsEx")
	comPeekMessage     = comUser32.NewProc("PeekMessageW")
	comDispatchMessage = comUser32.NewProc("DispatchMessageW")
)

const (
	qsAllInput         = 0x04FF // QS_ALLINPUT
	mwmoInputAvailable = 0x0004 // MWMO_INPUTAVAILABLE
	pmRemove           = 0x0001 // PM_REMOVE
)

// pump waits, and meanwhile hands on the messages that an apartment gets: a
// thread with windows that does not take them holds up who sends to all.
func pump(wait time.Duration) {
	var message ole.Msg
	for end := time.Now().Add(wait); ; {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		_, _, _ = comMsgWait.Call(0, 0, uintptr(left.Milliseconds()+1), qsAllInput, mwmoInputAvailable)
		for {
			taken, _, _ := comPeekMessage.Call(uintptr(unsafe.Pointer(&message)), 0, 0, 0, pmRemove)
			if taken == 0 {
				break
			}
			_, _, _ = comDispatchMessage.Call(uintptr(unsafe.Pointer(&message)))
		}
	}
}
