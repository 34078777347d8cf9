package credstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/godbus/dbus/v5"
)

// Names of the Secret Service specification.
const (
	secretsName     = "org.freedesktop.secrets"
	secretsPath     = dbus.ObjectPath("/org/freedesktop/secrets")
	serviceIface    = "org.freedesktop.Secret.Service"
	collectionIface = "org.freedesktop.Secret.Collection"
	itemIface       = "org.freedesktop.Secret.Item"
	promptIface     = "org.freedesktop.Secret.Prompt"
	noObject        = dbus.ObjectPath("/") // "none", wherever the specification has a path

	// The secret travels as it is over the user's own bus socket. The other
	// algorithm of the specification (1024-bit Diffie-Hellman without
	// authentication, AES-CBC) protects from no one who can read that socket's
	// traffic, because he could as well ask the service himself.
	plainAlgorithm = "plain"
)

// secretValue is the structure Secret of the specification, section 14.
type secretValue struct {
	Session     dbus.ObjectPath
	Parameters  []byte
	Value       []byte
	ContentType string
}

// keyring is one conversation with the Secret Service: a session, and the
// default collection, unlocked.
type keyring struct {
	conn        *dbus.Conn
	application string
	session     dbus.ObjectPath
	collection  dbus.ObjectPath
}

func openKeyring(ctx context.Context, conn *dbus.Conn, application string) (*keyring, error) {
	k := &keyring{conn: conn, application: application}
	var output dbus.Variant
	if err := k.call(ctx, secretsPath, serviceIface+".OpenSession", plainAlgorithm, dbus.MakeVariant("")).Store(&output, &k.session); err != nil {
		return nil, err
	}
	if err := k.call(ctx, secretsPath, serviceIface+".ReadAlias", "default").Store(&k.collection); err != nil {
		return nil, err
	}
	if k.collection == noObject {
		return nil, &Error{Op: opOpen, Reason: Unavailable, Err: errors.New("the Secret Service has no default keyring")}
	}
	return k, k.unlock(ctx, k.collection)
}

func (k *keyring) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return k.conn.Object(secretsName, path).CallWithContext(ctx, method, 0, args...)
}

// unlock unlocks objects as far as that needs nobody. Those that are unlocked
// already are simply given back by the service.
func (k *keyring) unlock(ctx context.Context, objects ...dbus.ObjectPath) error {
	if len(objects) == 0 {
		return nil
	}
	var unlocked []dbus.ObjectPath
	var prompt dbus.ObjectPath
	if err := k.call(ctx, secretsPath, serviceIface+".Unlock", objects).Store(&unlocked, &prompt); err != nil {
		return err
	}
	if err := k.dismiss(ctx, prompt); err != nil {
		return err
	}
	for _, o := range objects {
		if !slices.Contains(unlocked, o) {
			return &Error{Op: opOpen, Reason: Locked}
		}
	}
	return nil
}

// dismiss turns a prompt into Locked: the broker runs unattended and never
// waits for a person.
func (k *keyring) dismiss(ctx context.Context, prompt dbus.ObjectPath) error {
	if prompt == noObject || prompt == "" {
		return nil
	}
	k.call(ctx, prompt, promptIface+".Dismiss") // as a courtesy; Locked is the answer either way
	return &Error{Op: opOpen, Reason: Locked, Err: errors.New("the keyring asks for its password")}
}

// attributes find the item of a record, or all of ours for an empty id.
func (k *keyring) attributes(id string) map[string]string {
	a := map[string]string{"application": k.application}
	if id != "" {
		a["record"] = id
	}
	return a
}

// find gives the items of a record, or all of ours for an empty id, unlocked.
func (k *keyring) find(ctx context.Context, id string) ([]dbus.ObjectPath, error) {
	var open, locked []dbus.ObjectPath
	if err := k.call(ctx, secretsPath, serviceIface+".SearchItems", k.attributes(id)).Store(&open, &locked); err != nil {
		return nil, err
	}
	return append(open, locked...), k.unlock(ctx, locked...)
}

func (k *keyring) save(ctx context.Context, id string, data []byte) error {
	old, err := k.find(ctx, id)
	if err != nil {
		return err
	}
	properties := map[string]dbus.Variant{
		itemIface + ".Label":      dbus.MakeVariant("M365 Token Broker: " + id),
		itemIface + ".Attributes": dbus.MakeVariant(k.attributes(id)),
	}
	secret := secretValue{Session: k.session, Parameters: []byte{}, Value: []byte(wrapRecord(id, data)), ContentType: "text/plain; charset=utf8"}
	var item, prompt dbus.ObjectPath
	const replace = true // an item with the same attributes
	if err := k.call(ctx, k.collection, collectionIface+".CreateItem", properties, secret, replace).Store(&item, &prompt); err != nil {
		return err
	}
	if err := k.dismiss(ctx, prompt); err != nil {
		return err
	}
	// What was not replaced in place (another collection, a service that does
	// not replace) would come up again at the next Load.
	for _, o := range old {
		if o != item {
			if err := k.drop(ctx, o); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *keyring) load(ctx context.Context, id string) ([]byte, error) {
	items, err := k.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, ErrNotFound
	}
	newest, err := k.newest(ctx, items)
	if err != nil {
		return nil, err
	}
	var secret secretValue
	if err := k.call(ctx, newest, itemIface+".GetSecret", k.session).Store(&secret); err != nil {
		return nil, err
	}
	data, err := unwrapRecord(id, string(secret.Value))
	if err != nil {
		return nil, corrupt(opLoad, "record %q in the keyring: %w", id, err)
	}
	return data, nil
}

// newest picks among the items of one record: more than one are there only
// when a Save was cut short between its two steps.
func (k *keyring) newest(ctx context.Context, items []dbus.ObjectPath) (dbus.ObjectPath, error) {
	best, latest := items[0], uint64(0)
	if len(items) == 1 {
		return best, nil
	}
	for _, item := range items {
		modified, err := property[uint64](ctx, k, item, "Modified")
		if err != nil {
			return "", err
		}
		if modified > latest {
			best, latest = item, modified
		}
	}
	return best, nil
}

func (k *keyring) remove(ctx context.Context, id string) error {
	items, err := k.find(ctx, id)
	if err != nil {
		return err
	}
	for _, item := range items {
		if err := k.drop(ctx, item); err != nil {
			return err
		}
	}
	return nil
}

func (k *keyring) drop(ctx context.Context, item dbus.ObjectPath) error {
	var prompt dbus.ObjectPath
	if err := k.call(ctx, item, itemIface+".Delete").Store(&prompt); err != nil {
		return err
	}
	return k.dismiss(ctx, prompt)
}

func (k *keyring) ids(ctx context.Context) ([]string, error) {
	items, err := k.find(ctx, "")
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, item := range items {
		attributes, err := property[map[string]string](ctx, k, item, "Attributes")
		if err != nil {
			return nil, err
		}
		if id := attributes["record"]; ValidID(id) == nil {
			ids[id] = true
		}
	}
	return slices.Collect(maps.Keys(ids)), nil
}

// property reads a property of an item.
func property[T any](ctx context.Context, k *keyring, item dbus.ObjectPath, name string) (T, error) {
	var value dbus.Variant
	var typed T
	if err := k.call(ctx, item, "org.freedesktop.DBus.Properties.Get", itemIface, name).Store(&value); err != nil {
		return typed, err
	}
	if err := value.Store(&typed); err != nil {
		return typed, fmt.Errorf("property %s of %s: %w", name, item, err)
	}
	return typed, nil
}
