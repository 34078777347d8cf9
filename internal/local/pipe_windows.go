package local

import (
	"errors"
	"fmt"
	"net"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

// pipeBuffer is what each direction holds before a writer waits, in bytes.
const pipeBuffer = 64 << 10

// ListenPipe opens a named pipe (\\.\pipe\…) for this process's account and those
// with these SIDs, accounts or groups. No program of another machine can open it
// (FILE_PIPE_REJECT_REMOTE_CLIENTS, which go-winio always sets). Where the name is
// taken, the error is ErrTaken.
func ListenPipe(name string, sids []string) (net.Listener, error) {
	me, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, fmt.Errorf("find out this process's account: %w", err)
	}
	l, err := winio.ListenPipe(name, &winio.PipeConfig{
		SecurityDescriptor: descriptor(me.User.Sid.String(), sids),
		InputBufferSize:    pipeBuffer, OutputBufferSize: pipeBuffer,
	})
	switch {
	// go-winio makes the first instance (FILE_CREATE); of a name that is there,
	// Windows says that access is denied.
	case errors.Is(err, windows.ERROR_ACCESS_DENIED), errors.Is(err, windows.ERROR_PIPE_BUSY), errors.Is(err, windows.ERROR_ALREADY_EXISTS):
		return nil, fmt.Errorf("%w: %w", ErrTaken, err)
	case err != nil:
		return nil, err
	}
	return patient{l}, nil
}
