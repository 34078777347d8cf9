package credstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"
	"unsafe"

	"github.com/danieljoos/wincred"
	"golang.org/x/sys/windows"
)

// systemCredentials is the real Credential Manager; every method is one call.
type systemCredentials struct{}

// Write is CredWriteW.
func (systemCredentials) Write(target string, blob []byte) error {
	c := wincred.NewGenericCredential(target) // PersistLocalMachine: it neither roams nor ends with the logon
	c.UserName, c.CredentialBlob = userName, blob
	return c.Write()
}

// Read is CredReadW.
func (systemCredentials) Read(target string) ([]byte, error) {
	c, err := wincred.GetGenericCredential(target)
	if err != nil {
		return nil, err
	}
	return c.CredentialBlob, nil
}

// Delete is CredDeleteW.
func (systemCredentials) Delete(target string) error {
	return wincred.NewGenericCredential(target).Delete()
}

// List is CredEnumerateW.
func (systemCredentials) List(prefix string) ([]string, error) {
	found, err := wincred.FilteredList(prefix + "*")
	if err != nil {
		return nil, err
	}
	targets := make([]string, len(found))
	for i, c := range found {
		targets[i] = c.TargetName
	}
	return targets, nil
}

// namedMutex is the lock that all brokers of a Windows session share.
type namedMutex struct{ handle windows.Handle }

// mutexAccess lets every signed-in user of the session use the mutex: a second
// broker under another user, or an elevated one, must not be locked out by
// whoever came first. Holding it for ever costs the others a bounded wait.
const mutexAccess = "D:(A;;GA;;;AU)(A;;GA;;;SY)"

const (
	mutexPatience = 10 * time.Second       // then the caller is told Busy
	mutexSlice    = 100 * time.Millisecond // how soon a cancelled caller stops waiting
)

func openNamedMutex(name string) (*namedMutex, error) {
	access, err := windows.SecurityDescriptorFromString(mutexAccess)
	if err != nil {
		return nil, err
	}
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	attributes := &windows.SecurityAttributes{SecurityDescriptor: access}
	attributes.Length = uint32(unsafe.Sizeof(*attributes))
	handle, err := windows.CreateMutex(attributes, false, wide)
	if err != nil && !errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		return nil, fmt.Errorf("mutex %s: %w", name, err)
	}
	return &namedMutex{handle: handle}, nil
}

// lock waits for the mutex. A mutex belongs to a thread, so the goroutine stays
// on its thread until unlock. That its last owner died holding it
// (WAIT_ABANDONED) is no matter: a record cut short is what the two slots are for.
func (m *namedMutex) lock(ctx context.Context) (unlock func(), err error) {
	runtime.LockOSThread()
	defer func() {
		if err != nil {
			runtime.UnlockOSThread()
		}
	}()
	for waited := time.Duration(0); waited < mutexPatience; waited += mutexSlice {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		event, err := windows.WaitForSingleObject(m.handle, uint32(mutexSlice.Milliseconds()))
		switch {
		case err != nil:
			return nil, err
		case event == windows.WAIT_OBJECT_0 || event == windows.WAIT_ABANDONED:
			return func() {
				windows.ReleaseMutex(m.handle) //nolint:errcheck // fails only for a thread that does not own it, and this one does
				runtime.UnlockOSThread()
			}, nil
		}
	}
	return nil, &Error{Op: opOpen, Reason: Busy, Err: fmt.Errorf("the mutex %s was not free for %s", credMutexName, mutexPatience)}
}

// openWincred opens Credential Manager for targets that begin with prefix.
func openWincred(prefix string, log *slog.Logger) (*wincredStore, error) {
	mutex, err := openNamedMutex(credMutexName)
	if err != nil {
		return nil, credentialError(opOpen, err)
	}
	return newWincredStore(systemCredentials{}, mutex, prefix, log), nil
}
