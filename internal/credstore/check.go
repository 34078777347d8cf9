package credstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

const (
	checkID      = "self-check" // the scratch record; List never shows it
	checkSize    = 2500         // as large as a stored sign-in gets; on Windows the most that one credential holds, about
	checkRounds  = 3
	checkCleanup = 2 * time.Second
)

// Check proves that store works now: it saves, loads and deletes a record of
// 2,500 bytes under a scratch id. It is for readiness; the error
// is that of the step that failed.
func Check(ctx context.Context, store Store) (err error) {
	want := checkRecord()
	defer func() {
		// Clean up also when ctx ended in the middle.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkCleanup)
		defer cancel()
		if deleteErr := store.Delete(ctx, checkID); err == nil {
			err = deleteErr
		}
	}()
	// Two checks at once write the same bytes and can only disturb each other
	// by deleting; then the next round answers.
	for range checkRounds {
		if err = store.Save(ctx, checkID, want); err != nil {
			return err
		}
		var got []byte
		got, err = store.Load(ctx, checkID)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err == nil && !bytes.Equal(got, want) {
			err = &Error{Op: opCheck, Reason: Failed, Err: fmt.Errorf("%d bytes were saved and %d other bytes were loaded", len(want), len(got))}
		}
		return err
	}
	return &Error{Op: opCheck, Reason: Failed, Err: errors.New("a record that was just saved is not there")}
}

// checkRecord is always the same and does not compress.
func checkRecord() []byte {
	var b []byte
	for len(b) < checkSize {
		sum := sha256.Sum256(b)
		b = append(b, sum[:]...)
	}
	return b[:checkSize]
}
