package desktop

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Of WTSSendMessage: how the box looks, and what it answers.
const (
	boxOK          = 0x0
	boxOKCancel    = 0x1
	boxInformation = 0x40
	answeredOK     = 1
	answeredCancel = 2
	answeredLate   = 32000 // IDTIMEOUT
	answeredAsync  = 32001 // IDASYNC: nobody waited
)

// longestNotice is how long a notice may stay: a thread waits for it.
const longestNotice = 15 * time.Minute

// errNoticeShown is that a notice is still on the screen.
var errNoticeShown = errors.New("another notice of the broker is on the screen: answer that one first")

// Notice shows a box in this session, with OK, and with Cancel for "not now" where
// it asks. There is one at a time, for a quarter of an hour at most. A ctx that
// ends leaves the box to its own time.
func (d *local) Notice(ctx context.Context, n Notice) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return AnswerNone, err
	}
	select {
	case d.showing <- struct{}{}:
	default:
		return AnswerNone, errNoticeShown
	}
	type outcome struct {
		answer Answer
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { <-d.showing }()
		answer, err := showBox(d.here.SessionID, n)
		done <- outcome{answer, err}
	}()
	select {
	case got := <-done:
		return got.answer, got.err
	case <-ctx.Done():
		return AnswerNone, ctx.Err()
	}
}

// showBox is WTSSendMessage. The lengths are in bytes, without the zero.
func showBox(session uint32, n Notice) (Answer, error) {
	if err := wtsSendMessage.Find(); err != nil {
		return AnswerNone, err
	}
	title, err := windows.UTF16FromString(n.Title)
	if err != nil {
		return AnswerNone, fmt.Errorf("the title of the notice: %w", err)
	}
	text, err := windows.UTF16FromString(n.Text)
	if err != nil {
		return AnswerNone, fmt.Errorf("the text of the notice: %w", err)
	}
	style, wait := uintptr(boxOK|boxInformation), uintptr(0)
	if n.Ask {
		style = boxOKCancel | boxInformation
	}
	if n.Wait > 0 {
		wait = 1
	}
	var answer uint32
	ok, _, err := wtsSendMessage.Call(0, uintptr(session),
		uintptr(unsafe.Pointer(&title[0])), uintptr(2*(len(title)-1)),
		uintptr(unsafe.Pointer(&text[0])), uintptr(2*(len(text)-1)),
		style, noticeSeconds(n.Wait), uintptr(unsafe.Pointer(&answer)), wait)
	if ok == 0 {
		return AnswerNone, fmt.Errorf("show a notice in the session: %w", callError(err))
	}
	return answerOf(answer, n.Ask)
}

// noticeSeconds is the time that a notice stays, in whole seconds; zero is for
// ever, for a notice that nobody waits for.
func noticeSeconds(wait time.Duration) uintptr {
	if wait <= 0 {
		return 0
	}
	return uintptr((min(wait, longestNotice) + time.Second - 1) / time.Second)
}

func answerOf(button uint32, asked bool) (Answer, error) {
	switch button {
	case answeredOK:
		return AnswerOK, nil
	case answeredCancel:
		if asked {
			return AnswerNotNow, nil
		}
		return AnswerOK, nil
	case answeredLate, answeredAsync:
		return AnswerNone, nil
	}
	return AnswerNone, fmt.Errorf("show a notice in the session: the answer %d has no meaning here", button)
}
