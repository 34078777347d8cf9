package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/config"
)

// Where the broker reads its policy, below HKEY_LOCAL_MACHINE.
const (
	policyKey    = `Software\Policies\M365TokenBroker`
	mandatoryKey = policyKey + `\Mandatory`
)

const (
	product   = "M365TokenBroker"
	supported = "SUPPORTED_" + product
)

// writer makes both files side by side, so that nothing refers to a text that is
// not there.
type writer struct {
	admx definitions
	adml resources
}

// write makes the templates: each setting twice, as a default and as mandatory.
func write(schema []config.Known) (*writer, error) {
	w := &writer{
		admx: definitions{
			Xmlns: namespace, Revision: "1.0", SchemaVersion: "1.0",
			Target:  target{Prefix: "m365tokenbroker", Namespace: product + ".Policies"},
			Minimum: minimum{Revision: "1.0"},
		},
		adml: resources{
			Xmlns: namespace, Revision: "1.0", SchemaVersion: "1.0",
			DisplayName: "M365 Token Broker", Description: "Settings of the M365 Token Broker for all its users of a computer.",
		},
	}
	w.admx.Supported = []named{{Name: supported, DisplayName: w.text(supported, "M365 Token Broker on Windows 10, Windows Server 2016 or later")}}
	w.categories()
	for _, mandatory := range []bool{false, true} {
		for _, s := range settings {
			i := slices.IndexFunc(schema, func(k config.Known) bool { return k.Key == s.key })
			if i < 0 {
				return nil, fmt.Errorf("%s is no setting of internal/config; correct settings in texts.go", s.key)
			}
			if err := w.policy(s, schema[i], mandatory); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

// text adds a text and returns the reference to it. One that is there is kept.
func (w *writer) text(id, s string) string {
	if !slices.ContainsFunc(w.adml.Strings, func(t text) bool { return t.ID == id }) {
		w.adml.Strings = append(w.adml.Strings, textOf(id, s))
	}
	return "$(string." + id + ")"
}

func (w *writer) categories() {
	add := func(id, title, parent string) {
		c := category{named: named{Name: id, DisplayName: w.text("CAT_"+id, title)}}
		if parent != "" {
			c.Parent = &ref{parent}
		}
		w.admx.Categories = append(w.admx.Categories, c)
	}
	add(product, "M365 Token Broker", "")
	add(product+"_Mandatory", "Mandatory: cannot be changed on the computer", product)
	for _, c := range categories {
		add(product+"_"+c.id, c.title, product)
		add(product+"_Mandatory_"+c.id, c.title, product+"_Mandatory")
	}
}

// policy adds one policy.
func (w *writer) policy(s setting, k config.Known, mandatory bool) error {
	id, key, in, title := strings.ReplaceAll(s.key, ".", "_"), policyKey, product+"_"+s.category, s.title
	if mandatory {
		id, key, in, title = id+"_mandatory", mandatoryKey, product+"_Mandatory_"+s.category, s.title+" (mandatory)"
	}
	p := policy{
		Name: id, Class: "Machine", Key: key, Parent: ref{in}, SupportedOn: ref{supported},
		DisplayName: w.text(id, title), ExplainText: w.text(id+"_help", explain(s, k, mandatory)),
	}
	if k.Form == config.KnownSwitch {
		p.ValueName, p.Enabled, p.Disabled = s.key, &decimal{1}, &decimal{0}
		w.admx.Policies = append(w.admx.Policies, p)
		return nil
	}
	value := &element{ID: id + "_value", ValueName: s.key}
	shown := presentation{ID: id}
	switch {
	case k.Form == config.KnownList:
		value.MaxLength, value.MaxStrings = s.max, 100
		p.Elements, shown.List = &elements{List: value}, &labelled{RefID: value.ID, Label: s.title + ", one a line:"}
	case len(k.Values) > 0:
		value.Required = true
		items, standard, err := w.items(s, k)
		if err != nil {
			return err
		}
		value.Items = items
		p.Elements, shown.Enum = &elements{Enum: value}, &labelled{RefID: value.ID, NoSort: true, DefaultItem: &standard, Label: s.title + ":"}
	default:
		value.Required, value.MaxLength = true, s.max
		p.Elements, shown.Text = &elements{Text: value}, &textBox{RefID: value.ID, Label: s.title + ":", Default: k.Default}
	}
	p.Presentation = "$(presentation." + id + ")"
	w.adml.Presentations = append(w.adml.Presentations, shown)
	w.admx.Policies = append(w.admx.Policies, p)
	return nil
}

// items are the lines of a dropdown, and which is the default.
func (w *writer) items(s setting, k config.Known) (items []item, standard int, err error) {
	for _, v := range k.Values {
		if slices.Contains(elsewhere, config.Store(v)) {
			continue
		}
		title := valueTitles[s.key+"="+v]
		if title == "" {
			return nil, 0, fmt.Errorf("%s=%s has no title; add one to valueTitles in texts.go", s.key, v)
		}
		if v == k.Default {
			standard = len(items)
		}
		id := strings.NewReplacer(".", "_", "-", "_").Replace(s.key + "_is_" + v)
		items = append(items, item{DisplayName: w.text(id, title), Value: v})
	}
	return items, standard, nil
}

// explain is the help that the editor shows beside a policy.
func explain(s setting, k config.Known, mandatory bool) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	say("%s\n\n", s.text)
	if k.Form == config.KnownSwitch {
		say("Enabled switches it on, disabled switches it off. ")
	}
	where, kind := policyKey, "REG_SZ"
	if mandatory {
		where = mandatoryKey
		say("This setting wins over broker.yaml, the environment and the command line; what they say is ignored with a warning. ")
	} else {
		say("This is the default on the computer: broker.yaml, the environment and the command line may say otherwise. ")
	}
	if k.Form == config.KnownSwitch {
		say("Not configured, this policy says nothing.\n\n")
	} else {
		say("Disabled or not configured, this policy says nothing.\n\n")
	}
	switch {
	case k.Form == config.KnownSwitch:
		say("Default of the broker: %s.\n", map[string]string{"true": "on", "false": "off"}[k.Default])
		kind = "REG_DWORD, 1 or 0"
	case k.Default != "":
		say("Default of the broker: %s\n", k.Default)
	default:
		say("Default of the broker: not set.\n")
	}
	if example := s.sample(k); example != "" {
		say("Example: %s\n", example)
	}
	if k.Restart {
		say("A change takes effect when the broker starts again.\n\n")
	} else {
		say("A running broker takes a change over within minutes.\n\n")
	}
	if k.Form == config.KnownList {
		kind = "REG_MULTI_SZ"
	}
	say(`In the registry: HKLM\%s, value %s (%s).`, where, s.key, kind)
	return b.String()
}

// sample is an example of a text or a list.
func (s setting) sample(k config.Known) string {
	switch {
	case s.example != "":
		return s.example
	case k.Form == config.KnownText && len(k.Values) == 0:
		return k.Example
	default:
		return ""
	}
}
