package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// The forms of a Known setting.
const (
	KnownText   = "text"
	KnownSwitch = "switch"
	KnownList   = "list"
)

// Known is one setting with a fixed name, as the Config type declares it. It is for
// what is made from the schema, such as the policy templates.
type Known struct {
	Key     string   // telemetry.log_level
	Form    string   // KnownText, KnownSwitch or KnownList
	Values  []string // all there are, or nil where any text may stand
	Default string   // "" = not set
	Example string
	Secret  bool // the value may hold a password or a token
	Restart bool // a change waits for the next start of the broker
}

// Schema lists them in the order of Config. Named entries are not among them.
func Schema() []Known {
	var all []Known
	for _, s := range fixedSettings() {
		k := Known{
			Key: s.at.String(), Form: KnownText, Values: s.field.enum, Default: defaultOf(s.at), Example: s.field.example,
			Secret:  s.field.typ == reflect.TypeFor[token.Secret](),
			Restart: NeedsRestart(s.at.String()),
		}
		switch shapeOf(s.field.typ) {
		case shapeBool:
			k.Form = KnownSwitch
		case shapeList:
			k.Form = KnownList
		case shapeText, shapeSection, shapeNamed:
		}
		all = append(all, k)
	}
	return all
}

// defaultOf is the text of a setting's default.
func defaultOf(at key) string {
	var v any = defaults()
	for part := range strings.SplitSeq(string(at), "/") {
		m, ok := v.(map[string]any)
		if !ok || m[part] == nil {
			return ""
		}
		v = m[part]
	}
	return fmt.Sprint(v)
}
