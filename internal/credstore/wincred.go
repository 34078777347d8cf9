package credstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Names and limits of our credentials. Windows allows longer names; Wine keeps
// a name in a registry key and ends at 255 characters, so the limit is ours.
const (
	targetPrefix  = "M365TokenBroker:"
	userName      = "M365TokenBroker"
	targetLimit   = 200
	credMutexName = `Local\M365TokenBroker-credentials` //nolint:gosec // G101: the name of a lock, not a credential
)

// credentials is Windows Credential Manager in plain Go types: generic
// credentials of this user on this machine. Errors are the system's error
// numbers as syscall.Errno. Implementations need not be safe for concurrent use.
type credentials interface {
	Write(target string, blob []byte) error
	Read(target string) ([]byte, error)
	Delete(target string) error
	List(prefix string) ([]string, error) // the targets that begin so
}

// processLock keeps other processes of the session out of Credential Manager.
// It must be released by the goroutine that took it.
type processLock interface {
	lock(ctx context.Context) (unlock func(), err error)
}

// wincredStore is the Store over Windows Credential Manager.
type wincredStore struct {
	slots credentialSlots
	turn  turn        // this process
	lock  processLock // the others
	log   *slog.Logger
}

// newWincredStore makes the store whose targets begin with prefix.
func newWincredStore(creds credentials, lock processLock, prefix string, log *slog.Logger) *wincredStore {
	return &wincredStore{slots: credentialSlots{creds: limited{creds}, prefix: prefix}, turn: newTurn(), lock: lock, log: log}
}

// Save implements Store.
func (w *wincredStore) Save(ctx context.Context, id string, data []byte) error {
	if err := beginSave(ctx, id, data); err != nil {
		return err
	}
	return w.alone(ctx, opSave, func() error { return saveTwin(w.slots, id, data) })
}

// Load implements Store.
func (w *wincredStore) Load(ctx context.Context, id string) (data []byte, err error) {
	if err := begin(ctx, opLoad, id); err != nil {
		return nil, err
	}
	var damage error
	err = w.alone(ctx, opLoad, func() (err error) {
		data, damage, err = loadTwin(w.slots, id)
		return err
	})
	if damage != nil {
		w.log.WarnContext(ctx, "one copy of a stored record is damaged; the other one is used", slog.String("store", string(Wincred)), slog.String("record", id), slog.Any("cause", damage))
	}
	return data, err
}

// Delete implements Store.
func (w *wincredStore) Delete(ctx context.Context, id string) error {
	if err := begin(ctx, opDelete, id); err != nil {
		return err
	}
	return w.alone(ctx, opDelete, func() error { return deleteTwin(w.slots, id) })
}

// List implements Store.
func (w *wincredStore) List(ctx context.Context) (ids []string, err error) {
	err = w.alone(ctx, opList, func() (err error) {
		ids, err = w.slots.ids()
		return err
	})
	return listed(ids), err
}

// sweep removes chunks that belong to no record: what an interrupted Delete or
// first Save left. A record has its first chunk in a slot at least.
func (w *wincredStore) sweep(ctx context.Context) error {
	return w.alone(ctx, opOpen, w.slots.sweep)
}

// alone runs do with every other user of Credential Manager kept out.
func (w *wincredStore) alone(ctx context.Context, op string, do func() error) error {
	if err := w.turn.take(ctx, op); err != nil {
		return err
	}
	defer w.turn.give()
	unlock, err := w.lock.lock(ctx)
	if err != nil {
		return credentialError(op, err)
	}
	defer unlock()
	return credentialError(op, do())
}

// The system errors that have a reason of their own: winerror.h.
const (
	errCredHalfMade       = syscall.Errno(2) // ERROR_FILE_NOT_FOUND: Wine keeps a credential in several steps, and a kill came between
	errCredAccessDenied   = syscall.Errno(5)
	errCredNoMemory       = syscall.Errno(8)
	errCredNotFound       = syscall.Errno(1168)
	errCredNoLogonSession = syscall.Errno(1312)
	errCredServerDown     = syscall.Errno(1722) // RPC_S_SERVER_UNAVAILABLE: the Credential Manager service is off
	errCredBadStubData    = syscall.Errno(1783)
)

// credentialError gives an error of Credential Manager its reason.
func credentialError(op string, err error) error {
	if _, ours := errors.AsType[*Error](err); err == nil || ours || errors.Is(err, ErrNotFound) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	errno, _ := errors.AsType[syscall.Errno](err)
	var reason Reason
	switch errno {
	case errCredAccessDenied:
		reason = Permission
	case errCredNoMemory:
		reason = Quota
	case errCredNoLogonSession:
		reason = NoLogonSession
	case errCredServerDown:
		reason = Unavailable
	case errCredBadStubData:
		reason = TooBig
	default:
		reason = Failed
	}
	if errno != 0 {
		err = fmt.Errorf("error %d of Windows: %w", uint(errno), err)
	}
	return &Error{Op: op, Reason: reason, Err: err}
}

// limited holds to the limits of Windows ourselves: Wine, where this is
// tested, keeps blobs of any size and takes '\' and '_' for the same.
// Attributes are not in the interface at all: Wine drops them.
type limited struct{ credentials }

func (l limited) Write(target string, blob []byte) error {
	if len(blob) > blobLimit {
		return &Error{Op: opSave, Reason: TooBig, Err: fmt.Errorf("a credential of %d bytes; Windows keeps %d", len(blob), blobLimit)}
	}
	if len(target) > targetLimit || strings.ContainsAny(target, `\*`) {
		return &Error{Op: opSave, Reason: InvalidID, Err: fmt.Errorf("the target name %q is too long or holds a '\\' or '*'", target)}
	}
	return l.credentials.Write(target, blob)
}

// credentialSlots keeps the replicas of records in credentials.
type credentialSlots struct {
	creds  credentials
	prefix string // ends with ':'
}

// target is the name of one chunk.
func (c credentialSlots) target(id string, s slot, index int) string {
	return c.slotPrefix(id, s) + strconv.Itoa(index)
}

func (c credentialSlots) slotPrefix(id string, s slot) string {
	return c.prefix + id + ":" + strings.ToUpper(string(s)) + ":"
}

// parseTarget is the reverse of target; ok is false for a name that is not ours.
func (c credentialSlots) parseTarget(target string) (id string, s slot, index int, ok bool) {
	rest, found := strings.CutPrefix(target, c.prefix)
	parts := strings.Split(rest, ":")
	if !found || len(parts) != 3 {
		return "", "", 0, false
	}
	index, err := strconv.Atoi(parts[2])
	s = slot(strings.ToLower(parts[1]))
	if err != nil || index < 0 || ValidID(parts[0]) != nil || (s != slotA && s != slotB) || c.target(parts[0], s, index) != target {
		return "", "", 0, false
	}
	return parts[0], s, index, true
}

func (c credentialSlots) read(id string, s slot) (replica, error) {
	var chunks []chunk
	for i := 0; i == 0 || i < int(chunks[0].count); i++ {
		blob, err := c.creds.Read(c.target(id, s, i))
		if errors.Is(err, errCredNotFound) {
			if i == 0 {
				return replica{}, nil
			}
			return tornSlot(s, chunks, fmt.Errorf("chunk %d is missing", i)), nil
		}
		if errors.Is(err, errCredHalfMade) {
			return tornSlot(s, chunks, fmt.Errorf("chunk %d was cut short", i)), nil
		}
		if err != nil {
			return replica{}, err
		}
		got, err := parseChunk(blob)
		if err != nil {
			return tornSlot(s, chunks, fmt.Errorf("chunk %d: %w", i, err)), nil
		}
		chunks = append(chunks, got)
	}
	data, err := join(id, chunks)
	if err != nil {
		return tornSlot(s, chunks, err), nil
	}
	return replica{state: whole, generation: chunks[0].generation, data: data}, nil
}

func tornSlot(s slot, chunks []chunk, why error) replica {
	r := replica{state: torn, why: fmt.Errorf("slot %s: %w", strings.ToUpper(string(s)), why)}
	if len(chunks) > 0 {
		r.generation = chunks[0].generation
	}
	return r
}

// write puts a record into a slot: surplus chunks go first, so that an error
// there still means "not saved"; the first chunk comes last, because without
// it nothing of the slot counts.
func (c credentialSlots) write(id string, s slot, generation uint64, data []byte) error {
	blobs := cut(id, generation, data)
	if err := c.removeFrom(id, s, len(blobs)); err != nil {
		return err
	}
	for i, blob := range slices.Backward(blobs) {
		if err := c.creds.Write(c.target(id, s, i), blob); err != nil {
			return err
		}
	}
	return nil
}

func (c credentialSlots) remove(id string, s slot) error { return c.removeFrom(id, s, 0) }

// removeFrom deletes the chunks of a slot from an index on, the first chunk
// first: from then on the slot is empty.
func (c credentialSlots) removeFrom(id string, s slot, from int) error {
	targets, err := c.creds.List(c.slotPrefix(id, s))
	if errors.Is(err, errCredHalfMade) {
		targets, err = c.possible(id, s), nil
	}
	if err != nil {
		return err
	}
	var rest []string
	for _, target := range targets {
		_, _, index, ok := c.parseTarget(target)
		switch {
		case !ok || index < from:
		case index == 0:
			if err := c.drop(target); err != nil {
				return err
			}
		default:
			rest = append(rest, target)
		}
	}
	for _, target := range rest {
		if err := c.drop(target); err != nil {
			return err
		}
	}
	return nil
}

// possible are the names that the chunks of a slot can have, for a listing that
// stumbles over a credential that was cut short.
func (c credentialSlots) possible(id string, s slot) []string {
	var targets []string
	for i := range maxChunks {
		targets = append(targets, c.target(id, s, i))
	}
	return targets
}

// drop deletes one credential; that it is gone already is no error.
func (c credentialSlots) drop(target string) error {
	if err := c.creds.Delete(target); err != nil && !errors.Is(err, errCredNotFound) {
		return err
	}
	return nil
}

// ids are the records of which a first chunk is there.
func (c credentialSlots) ids() ([]string, error) {
	targets, err := c.creds.List(c.prefix)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, target := range targets {
		if id, _, index, ok := c.parseTarget(target); ok && index == 0 {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// sweep deletes the chunks of slots that have no first chunk.
func (c credentialSlots) sweep() error {
	targets, err := c.creds.List(c.prefix)
	if err != nil {
		return err
	}
	first := map[string]bool{}
	for _, target := range targets {
		if id, s, index, ok := c.parseTarget(target); ok && index == 0 {
			first[c.slotPrefix(id, s)] = true
		}
	}
	for _, target := range targets {
		id, s, _, ok := c.parseTarget(target)
		if !ok || first[c.slotPrefix(id, s)] {
			continue
		}
		if err := c.drop(target); err != nil {
			return err
		}
	}
	return nil
}
