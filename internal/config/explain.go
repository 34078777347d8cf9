package config

import (
	"encoding"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// Setting is one effective setting, ready to be shown: secrets are redacted.
type Setting struct {
	Key    string `json:"key"`    // for example consumers.crm.rate
	Value  string `json:"value"`  // lists as [a, b]; empty = not set
	Source string `json:"source"` // see Source.String; of a policy the key, and which part of it
}

// Explain lists every effective setting with where it came from, in the order
// of the Config type, names sorted.
func (l *Loaded) Explain() []Setting {
	var all []Setting
	eachLeaf(reflect.ValueOf(l.Config), "", func(at key, f field, v reflect.Value) {
		all = append(all, Setting{Key: at.String(), Value: display(f, v), Source: l.sources[at].shown()})
	})
	return all
}

// Change is one setting that two readings differ in. The values are redacted.
type Change struct {
	Key      string
	Old, New string // empty = not set
	Restart  bool   // takes effect only when the broker starts again
}

// String is one line for the log.
func (c Change) String() string { return fmt.Sprintf("%s: %q -> %q", c.Key, c.Old, c.New) }

// live are the top keys, or keys, that a running broker takes over.
var live = [...]string{"accounts", "resources", "consumers", "mapi", "notify", "audit", "telemetry.log_level"}

// NeedsRestart reports whether a change of this setting waits for the next
// start of the broker: addresses, the socket and the pipe, hosts, the tenant and
// the app, the store, the proxy, the dialects and the form of the log do.
func NeedsRestart(settingKey string) bool {
	return !slices.ContainsFunc(live[:], func(k string) bool {
		return settingKey == k || strings.HasPrefix(settingKey, k+".")
	})
}

// Diff lists the settings that differ, sorted by key. Resources wait for a
// restart where the cloud does: the new cloud's do not go with the old login host.
func Diff(before, after *Loaded) []Change {
	type leaf struct{ raw, shown string }
	leaves := func(l *Loaded) map[key]leaf {
		m := map[key]leaf{}
		eachLeaf(reflect.ValueOf(l.Config), "", func(at key, f field, v reflect.Value) {
			m[at] = leaf{raw: rawText(v), shown: display(f, v)}
		})
		return m
	}
	was, is := leaves(before), leaves(after)
	otherCloud := before.Config.Cloud != after.Config.Cloud
	var changes []Change
	for _, at := range slices.Compact(slices.Sorted(slices.Values(append(sortedAny(was), sortedAny(is)...)))) {
		if was[at].raw != is[at].raw {
			changes = append(changes, Change{
				Key: at.String(), Old: was[at].shown, New: is[at].shown, Restart: NeedsRestart(at.String()) || (otherCloud && strings.HasPrefix(string(at), "resources/")),
			})
		}
	}
	return changes
}

func sortedAny[V any](m map[key]V) []key {
	var keys []key
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// eachLeaf walks the settings down to texts, switches and lists.
func eachLeaf(v reflect.Value, where key, do func(key, field, reflect.Value)) {
	for _, f := range fields(v.Type()) {
		at, value := where.in(f.name), v.Field(f.index)
		switch shapeOf(f.typ) {
		case shapeSection:
			eachLeaf(value, at, do)
		case shapeNamed:
			names := value.MapKeys()
			slices.SortFunc(names, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
			for _, name := range names {
				eachLeaf(value.MapIndex(name), at.in(name.String()), do)
			}
		default:
			do(at, f, value)
		}
	}
}

// rawText is the whole value, for comparing only.
func rawText(v reflect.Value) string {
	if s, ok := reflect.TypeAssert[token.Secret](v); ok {
		return secretText(s)
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		text, _ := m.MarshalText() // ours cannot fail
		return string(text)
	}
	if v.Kind() == reflect.Slice {
		return fmt.Sprintf("%q", v.Interface())
	}
	return fmt.Sprint(v.Interface())
}

// display is the value as it may be shown.
func display(f field, v reflect.Value) string {
	if s, ok := reflect.TypeAssert[token.Secret](v); ok {
		return redactURL(secretText(s))
	}
	if v.Kind() != reflect.Slice {
		return rawText(v)
	}
	items := make([]string, v.Len())
	for i := range items {
		items[i] = v.Index(i).String()
		if f.short && len(items[i]) > 8 {
			items[i] = items[i][:8] + "…"
		}
	}
	if len(items) == 0 {
		return ""
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// redactURL shows a URL without what may be secret in it: user name and
// password. What is no URL is not shown at all.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if raw == "" {
		return ""
	}
	if err != nil || u.Host == "" {
		return "[redacted]"
	}
	if u.User != nil {
		return u.Scheme + "://[redacted]@" + u.Host
	}
	return u.Scheme + "://" + u.Host
}
