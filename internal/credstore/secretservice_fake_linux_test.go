package credstore

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// fakeItem is an item of the fake keyring.
type fakeItem struct {
	attributes map[string]string
	secret     secretValue
	modified   uint64
	locked     bool
}

// fakeSecretService is a session bus with nothing on it but a Secret Service:
// it listens on a Unix socket, authenticates, and answers calls on the wire, so
// that everything on our side is the real thing.
type fakeSecretService struct {
	mu         sync.Mutex // guards all below
	items      map[dbus.ObjectPath]*fakeItem
	clock      uint64
	collection dbus.ObjectPath
	locked     bool              // the collection
	prompts    map[string]bool   // members that answer with a prompt
	errors     map[string]string // member -> name of the D-Bus error
	hangs      map[string]bool   // members that are never answered
	dismissed  int
	noReplace  bool // CreateItem always makes another item
	address    string
	t          testing.TB
}

const (
	fakeCollection = dbus.ObjectPath("/org/freedesktop/secrets/collection/login")
	fakePrompt     = dbus.ObjectPath("/org/freedesktop/secrets/prompt/p1")
	fakeSession    = dbus.ObjectPath("/org/freedesktop/secrets/session/s1")
)

func startFakeSecretService(t testing.TB) *fakeSecretService {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeSecretService{
		items: map[dbus.ObjectPath]*fakeItem{}, collection: fakeCollection,
		prompts: map[string]bool{}, errors: map[string]string{}, hangs: map[string]bool{}, address: "unix:path=" + path, t: t,
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			all.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); all.Wait() })
	return f
}

// store is the Store over the fake.
func (f *fakeSecretService) store() *secretServiceStore {
	return &secretServiceStore{application: recordAttribute, turn: newTurn(), address: f.address}
}

// serve speaks SASL (D-Bus specification, "Authentication Protocol") and then
// answers messages until the client is gone.
func (f *fakeSecretService) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for first := true; ; first = false {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if first {
			line = strings.TrimPrefix(line, "\x00")
		}
		switch strings.Fields(line)[0] {
		case "BEGIN":
			f.answerAll(conn, in)
			return
		case "AUTH":
			if strings.TrimSpace(line) == "AUTH" {
				fmt.Fprint(conn, "REJECTED EXTERNAL\r\n")
			} else {
				fmt.Fprint(conn, "OK 0123456789abcdef0123456789abcdef\r\n")
			}
		case "DATA":
			fmt.Fprint(conn, "OK 0123456789abcdef0123456789abcdef\r\n")
		default:
			fmt.Fprint(conn, "ERROR\r\n") // no file descriptors
		}
	}
}

func (f *fakeSecretService) answerAll(conn net.Conn, in *bufio.Reader) {
	for {
		call, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		member, _ := call.Headers[dbus.FieldMember].Value().(string)
		path, _ := call.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
		reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(call.Serial())}}
		f.mu.Lock()
		hang, name := f.hangs[member], f.errors[member]
		if name == "" && !hang {
			reply.Body, name = f.answer(path, member, call.Body)
		}
		f.mu.Unlock()
		if hang {
			continue
		}
		if name != "" {
			reply.Type, reply.Body = dbus.TypeError, []any{"the text of an error: CANARY"}
			reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant(name)
		}
		if len(reply.Body) > 0 {
			reply.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(reply.Body...))
		}
		if err := reply.EncodeTo(conn, binary.LittleEndian); err != nil {
			return // the client is gone
		}
	}
}

// prompt is what a member gives in the place of a prompt.
func (f *fakeSecretService) prompt(member string) dbus.ObjectPath {
	if f.prompts[member] {
		return fakePrompt
	}
	return noObject
}

// answer does what the specification says of a member; name is that of an error.
func (f *fakeSecretService) answer(path dbus.ObjectPath, member string, args []any) (body []any, name string) {
	switch member {
	case "Hello":
		return []any{":1.1"}, ""
	case "OpenSession":
		return []any{dbus.MakeVariant(""), fakeSession}, ""
	case "ReadAlias":
		return []any{f.collection}, ""
	case "Unlock":
		return f.unlock(args[0].([]dbus.ObjectPath)), ""
	case "SearchItems":
		return f.search(args[0].(map[string]string)), ""
	case "CreateItem":
		return f.create(args), ""
	case "Dismiss":
		f.dismissed++
		return nil, ""
	}
	item := f.items[path]
	if item == nil {
		return nil, "org.freedesktop.Secret.Error.NoSuchObject"
	}
	switch member {
	case "GetSecret":
		if item.locked {
			return nil, "org.freedesktop.Secret.Error.IsLocked"
		}
		return []any{item.secret}, ""
	case "Delete":
		if !f.prompts[member] {
			delete(f.items, path)
		}
		return []any{f.prompt(member)}, ""
	case "Get":
		if args[1] == "Modified" {
			return []any{dbus.MakeVariant(item.modified)}, ""
		}
		return []any{dbus.MakeVariant(item.attributes)}, ""
	}
	return nil, "org.freedesktop.DBus.Error.UnknownMethod"
}

func (f *fakeSecretService) unlock(objects []dbus.ObjectPath) []any {
	if f.prompts["Unlock"] {
		return []any{[]dbus.ObjectPath{}, fakePrompt}
	}
	f.locked = false
	for _, o := range objects {
		if item := f.items[o]; item != nil {
			item.locked = false
		}
	}
	return []any{objects, noObject}
}

func (f *fakeSecretService) search(wanted map[string]string) []any {
	open, locked := []dbus.ObjectPath{}, []dbus.ObjectPath{}
	for _, path := range slices.Sorted(maps.Keys(f.items)) {
		item := f.items[path]
		matches := true
		for k, v := range wanted {
			matches = matches && item.attributes[k] == v
		}
		switch {
		case matches && item.locked:
			locked = append(locked, path)
		case matches:
			open = append(open, path)
		}
	}
	return []any{open, locked}
}

func (f *fakeSecretService) create(args []any) []any {
	if f.prompts["CreateItem"] {
		return []any{noObject, fakePrompt}
	}
	var secret secretValue
	if err := dbus.Store([]any{args[1]}, &secret); err != nil {
		f.t.Errorf("CreateItem with a bad secret: %v", err)
	}
	attributes := args[0].(map[string]dbus.Variant)[itemIface+".Attributes"].Value().(map[string]string)
	f.clock++
	item := &fakeItem{attributes: attributes, secret: secret, modified: f.clock}
	if args[2].(bool) && !f.noReplace {
		for path, old := range f.items {
			if maps.Equal(old.attributes, attributes) {
				f.items[path] = item
				return []any{path, noObject}
			}
		}
	}
	path := dbus.ObjectPath(fmt.Sprintf("%s/%d", fakeCollection, f.clock))
	f.items[path] = item
	return []any{path, noObject}
}

// set changes the fake between two operations.
func (f *fakeSecretService) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// hangUntil is a deadline for operations that are never answered: short, and
// real, because a socket knows no fake clock.
const hangUntil = 50 * time.Millisecond
