package credstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// secretServicePatience bounds every operation. A service that asks a person
// is not waited for at all, see dismiss.
const secretServicePatience = 5 * time.Second

// secretServiceStore is the Store over the freedesktop Secret Service
// (specifications.freedesktop.org/secret-service, version 0.2) of the user's
// session bus: one item per record in the default collection.
//
// Each operation has a connection and a session of its own. They cost a
// millisecond, and a bus or a keyring that was restarted in between is nothing
// that could go wrong.
type secretServiceStore struct {
	application string // the attribute that tells our items from others'
	turn        turn
	address     string // of the session bus
}

// newSecretService makes the store on the session bus at address; nothing is
// asked of the bus before the first operation.
func newSecretService(address, application string) (Store, error) {
	return &secretServiceStore{application: application, turn: newTurn(), address: address}, nil
}

// Save implements Store.
func (s *secretServiceStore) Save(ctx context.Context, id string, data []byte) error {
	if err := beginSave(ctx, id, data); err != nil {
		return err
	}
	return s.converse(ctx, opSave, func(ctx context.Context, k *keyring) error { return k.save(ctx, id, data) })
}

// Load implements Store.
func (s *secretServiceStore) Load(ctx context.Context, id string) (data []byte, err error) {
	if err := begin(ctx, opLoad, id); err != nil {
		return nil, err
	}
	err = s.converse(ctx, opLoad, func(ctx context.Context, k *keyring) (err error) {
		data, err = k.load(ctx, id)
		return err
	})
	return data, err
}

// Delete implements Store.
func (s *secretServiceStore) Delete(ctx context.Context, id string) error {
	if err := begin(ctx, opDelete, id); err != nil {
		return err
	}
	return s.converse(ctx, opDelete, func(ctx context.Context, k *keyring) error { return k.remove(ctx, id) })
}

// List implements Store.
func (s *secretServiceStore) List(ctx context.Context) (ids []string, err error) {
	err = s.converse(ctx, opList, func(ctx context.Context, k *keyring) (err error) {
		ids, err = k.ids(ctx)
		return err
	})
	return listed(ids), err
}

// converse connects, unlocks the default collection, and lets do speak to it,
// all within secretServicePatience.
func (s *secretServiceStore) converse(ctx context.Context, op string, do func(context.Context, *keyring) error) error {
	if err := s.turn.take(ctx, op); err != nil {
		return err
	}
	defer s.turn.give()
	patience, cancel := context.WithTimeout(ctx, secretServicePatience)
	defer cancel()
	conn, err := s.connect(patience)
	if err == nil {
		defer conn.Close() //nolint:errcheck // the service ends the session with it, whatever it says
		var k *keyring
		if k, err = openKeyring(patience, conn, s.application); err == nil {
			err = do(patience, k)
		}
	}
	if ctxErr := alive(ctx, op); err != nil && ctxErr != nil {
		return ctxErr
	}
	if err != nil && patience.Err() != nil {
		return &Error{Op: op, Reason: Unavailable, Err: fmt.Errorf("the Secret Service did not answer within %s", secretServicePatience)}
	}
	return secretServiceError(op, err)
}

// connect gives a connection that closes when ctx ends, so that neither the
// handshake nor a call can hang.
func (s *secretServiceStore) connect(ctx context.Context) (*dbus.Conn, error) {
	if s.address == "" {
		return nil, &Error{Op: opOpen, Reason: Unavailable, Err: errors.New("there is no session bus: DBUS_SESSION_BUS_ADDRESS is not set and XDG_RUNTIME_DIR has no bus")}
	}
	conn, err := dbus.Connect(s.address, dbus.WithContext(ctx))
	if err != nil {
		return nil, &Error{Op: opOpen, Reason: Unavailable, Err: fmt.Errorf("session bus: %w", err)}
	}
	return conn, nil
}

// secretServiceReason gives the name of a D-Bus error its reason; a name
// that is not here is Failed.
func secretServiceReason(name string) Reason {
	switch name {
	case "org.freedesktop.Secret.Error.IsLocked":
		return Locked
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner",
		"org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Timeout", "org.freedesktop.DBus.Error.TimedOut",
		"org.freedesktop.DBus.Error.Disconnected", "org.freedesktop.DBus.Error.NoServer",
		"org.freedesktop.DBus.Error.Spawn.ExecFailed", "org.freedesktop.DBus.Error.Spawn.ChildExited",
		"org.freedesktop.DBus.Error.Spawn.ChildSignaled", "org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
		"org.freedesktop.Secret.Error.NoSession":
		return Unavailable
	case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.AuthFailed":
		return Permission
	case "org.freedesktop.DBus.Error.LimitsExceeded":
		return TooBig
	}
	return Failed
}

// secretServiceError gives an error of the service its reason. Of a D-Bus
// error only the name is kept: the text is the service's and could say anything.
func secretServiceError(op string, err error) error {
	if _, ours := errors.AsType[*Error](err); err == nil || ours || errors.Is(err, ErrNotFound) {
		return err
	}
	if e, ok := errors.AsType[dbus.Error](err); ok {
		return &Error{Op: op, Reason: secretServiceReason(e.Name), Err: errors.New(e.Name)}
	}
	if errors.Is(err, dbus.ErrClosed) {
		return &Error{Op: op, Reason: Unavailable, Err: err}
	}
	return &Error{Op: op, Reason: Failed, Err: err}
}
