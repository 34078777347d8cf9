package config

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// The policy of the machine: a key of Windows' registry that only administrators
// may write. Its values are defaults for every broker of the machine; those of its
// subkey Mandatory win over everything else.
const (
	policyPath   = `SOFTWARE\Policies\M365TokenBroker`
	policyRoot   = `HKLM\` + policyPath
	mandatoryKey = "Mandatory"
)

// PolicyKey is one key of the registry with what is below it, in plain types.
type PolicyKey struct {
	// Values are text (string: REG_SZ, REG_EXPAND_SZ), numbers (uint64: REG_DWORD,
	// REG_QWORD) and lists ([]string: REG_MULTI_SZ). What has another type is the
	// type's name, as a PolicyType.
	Values map[string]any
	Keys   map[string]PolicyKey
}

// PolicyType is the name of a type that no setting has, in place of the value.
type PolicyType string

// policyLayer is one layer in the making, from one part of the policy. Its sources are
// kept apart: what is mandatory is laid on top only when all else has been read.
type policyLayer struct {
	*reader
	kind    SourceKind
	values  map[string]any
	sources map[key]Source
}

// readPolicy reads the policy as it is.
func (o Options) readPolicy() (PolicyKey, error) {
	switch {
	case o.alone:
		return PolicyKey{}, nil
	case o.Policy != nil:
		return o.Policy()
	default:
		return machinePolicy()
	}
}

// readPolicy reads both parts. The defaults are the first layer; the mandatory part
// waits for enforce.
func (r *reader) readPolicy(o Options) PolicyKey {
	root, err := o.readPolicy()
	if err != nil {
		r.fault(Source{Kind: FromPolicy, Name: policyRoot}, "", "cannot be read: "+reason(err)+"; let the broker's user read this key")
		return root
	}
	usual := r.policyPart(FromPolicy)
	usual.root(root, policyRoot)
	maps.Copy(r.sources, usual.sources)
	r.layers = append(r.layers, usual.values)
	r.mandatory = r.policyPart(FromMandatory)
	for _, name := range sortedKeys(root.Keys) {
		if strings.EqualFold(name, mandatoryKey) {
			r.mandatory.root(root.Keys[name], policyRoot+`\`+name)
		}
	}
	return root
}

func (r *reader) policyPart(kind SourceKind) *policyLayer {
	return &policyLayer{reader: r, kind: kind, values: map[string]any{}, sources: map[key]Source{}}
}

// enforce lays what is mandatory on top. An entry that is defined elsewhere stays
// that place's: there its faults are to be mended.
func (r *reader) enforce() {
	if r.mandatory == nil {
		return
	}
	for at, src := range r.mandatory.sources {
		if _, defined := r.sources[at]; !defined || !isEntry(at) {
			r.sources[at] = src
		}
	}
	r.layers = append(r.layers, r.mandatory.values)
}

// policyOf says where the policy sets something, in either part.
func (r *reader) policyOf(at key) (Source, bool) {
	if r.mandatory == nil {
		return Source{}, false
	}
	if src, ok := r.mandatory.sources[at]; ok {
		return src, true
	}
	src, ok := r.sources[at]
	return src, ok && src.Kind == FromPolicy
}

// set notes where a setting comes from, and tells where that is in vain.
func (r *reader) set(at key, src Source) {
	r.sources[at] = src
	if r.mandatory == nil {
		return
	}
	// Entries are no values: a file may add to one that the policy sets a part of.
	if by, ok := r.mandatory.sources[at]; ok && !isEntry(at) {
		r.warn(src, at, "is ignored, because "+by.String()+" sets it for this machine; remove it here, or have the policy changed")
	}
}

// isEntry reports the key of an account, a resource, a consumer or a target itself.
func isEntry(at key) bool {
	top, rest, _ := strings.Cut(string(at), "/")
	f, _ := fieldNamed(reflect.TypeFor[Config](), top)
	return f.typ != nil && shapeOf(f.typ) == shapeNamed && !strings.Contains(rest, "/")
}

// root reads one part: values by the dotted names of settings, and a subkey for
// each section of names.
func (p *policyLayer) root(k PolicyKey, path string) {
	known := fixedSettings()
	for _, name := range sortedKeys(k.Values) {
		src := Source{Kind: p.kind, Name: path + `\` + name}
		dotted := strings.ToLower(name)
		i := slices.IndexFunc(known, func(s fixedSetting) bool { return s.at.String() == dotted })
		if i < 0 {
			p.unknown(src, name, k.Values[name], known)
			continue
		}
		p.value(slot(p.values, known[i].at), known[i].field, known[i].at, k.Values[name], src)
	}
	for _, name := range sortedKeys(k.Keys) {
		sub := path + `\` + name
		f, ok := fieldNamed(reflect.TypeFor[Config](), strings.ToLower(name))
		switch {
		case p.kind == FromPolicy && strings.EqualFold(name, mandatoryKey):
		case ok && shapeOf(f.typ) == shapeNamed:
			p.named(k.Keys[name], f, sub)
		case ok && shapeOf(f.typ) == shapeSection:
			p.fault(Source{Kind: p.kind, Name: sub}, "", fmt.Sprintf("is no key of the policy; write its settings as values of %s, with the section's name and a dot before them, such as %s.%s", path, f.name, fieldNames(f.typ)[0]))
		default:
			p.fault(Source{Kind: p.kind, Name: sub}, "", "is no key of the policy"+p.keyHint(name))
		}
	}
}

// unknown notes a value whose name is no setting.
func (p *policyLayer) unknown(src Source, name string, value any, known []fixedSetting) {
	text, isText := value.(string)
	if name == "" && isText && text == "" {
		return // "(Default)", as some tools leave it
	}
	top, _, _ := strings.Cut(strings.ToLower(name), ".")
	if f, ok := fieldNamed(reflect.TypeFor[Config](), top); ok && shapeOf(f.typ) == shapeNamed {
		p.fault(src, "", fmt.Sprintf(`is no value of the policy; entries of %s are keys: make %s\NAME, with values such as %s`, top, top, fieldNames(f.typ.Elem())[0]))
		return
	}
	p.fault(src, "", "is no setting of the broker"+policyHint(name, known))
}

// policyHint names the setting that was most probably meant: the one that ends so,
// where the section was left out, or the nearest.
func policyHint(name string, known []fixedSetting) string {
	var names []string
	for _, s := range known {
		names = append(names, s.at.String())
		if strings.HasSuffix(s.at.String(), "."+strings.ToLower(name)) {
			return fmt.Sprintf("; did you mean %q?", s.at)
		}
	}
	if hint := didYouMean(name, names); hint != "" {
		return hint
	}
	return "; value names are the settings that `broker config check` shows, such as telemetry.log_level"
}

// keyHint says which keys there are.
func (p *policyLayer) keyHint(name string) string {
	var names []string
	if p.kind == FromPolicy {
		names = append(names, mandatoryKey)
	}
	for _, f := range fields(reflect.TypeFor[Config]()) {
		if shapeOf(f.typ) == shapeNamed {
			names = append(names, f.name)
		}
	}
	if hint := didYouMean(name, names); hint != "" {
		return hint
	}
	return "; there can be " + oneOf(names)
}

// named reads a key of entries, each a key of its own. The registry's names are
// without case, and ours are lower-case.
func (p *policyLayer) named(k PolicyKey, f field, path string) {
	for _, value := range sortedKeys(k.Values) {
		p.fault(Source{Kind: p.kind, Name: path + `\` + value}, "", fmt.Sprintf(`is no value of the policy; entries of %s are keys below this one, such as %s\NAME`, f.name, f.name))
	}
	for _, name := range sortedKeys(k.Keys) {
		entry, sub, lower := k.Keys[name], path+`\`+name, strings.ToLower(name)
		if !ValidName(lower) {
			p.fault(Source{Kind: p.kind, Name: sub}, "", "cannot be a name; "+nameRule)
			continue
		}
		at := key(f.name).in(lower)
		p.sources[at] = Source{Kind: p.kind, Name: sub}
		layer := slot(p.values, at.in("any"))
		for _, value := range sortedKeys(entry.Values) {
			src := Source{Kind: p.kind, Name: sub + `\` + value}
			inner, ok := fieldNamed(f.typ.Elem(), strings.ToLower(value))
			if !ok {
				p.fault(src, at.in(shown(strings.ToLower(value))), "unknown key"+unknownKeyHint(value, at, f.typ.Elem()))
				continue
			}
			p.value(layer, inner, at.in(inner.name), entry.Values[value], src)
		}
		for _, deeper := range sortedKeys(entry.Keys) {
			p.fault(Source{Kind: p.kind, Name: sub + `\` + deeper}, "", "is no key of the policy; an entry has values only")
		}
	}
}

// value checks one value and puts it into the layer.
func (p *policyLayer) value(layer map[string]any, f field, at key, value any, src Source) {
	p.sources[at] = src
	want := shapeOf(f.typ)
	switch v := value.(type) {
	case string:
		if want == shapeList {
			p.fault(src, at, "is text, but must be a list (REG_MULTI_SZ, one line for each)")
		} else if got, ok := p.scalar(f, at, v, src); ok && !p.tooOpen(f, at, v, src) {
			layer[f.name] = got
		}
	case uint64:
		switch {
		case want != shapeBool:
			p.fault(src, at, fmt.Sprintf("is a number, but must be %s", policyForm(want)))
		case v > 1:
			p.fault(src, at, fmt.Sprintf("is %d, but must be 1 (true) or 0 (false)", v))
		default:
			layer[f.name] = v == 1
		}
	case []string:
		if want != shapeList {
			p.fault(src, at, fmt.Sprintf("is a list, but must be %s", policyForm(want)))
			return
		}
		p.list(layer, f, at, v, src)
	default:
		p.fault(src, at, fmt.Sprintf("is a %v, but must be %s", value, policyForm(want)))
	}
}

func (p *policyLayer) list(layer map[string]any, f field, at key, items []string, src Source) {
	good := []string{}
	for i, item := range items {
		p.sources[at.item(i)] = src
		if _, ok := p.scalar(field{typ: reflect.TypeFor[string]()}, at.item(i), item, src); ok {
			good = append(good, item)
		}
	}
	if len(good) < len(items) {
		p.bad[at] = true
	}
	layer[f.name] = good
}

// policyForm says how a value of the registry must look.
func policyForm(want shape) string {
	switch want {
	case shapeBool:
		return "1 or 0 (REG_DWORD), or the text true or false (REG_SZ)"
	case shapeList:
		return "a list (REG_MULTI_SZ)"
	default:
		return "text (REG_SZ)"
	}
}

// longPart is from where a part of an address is rather a secret than a name.
const longPart = 24

// tooOpen looks for secrets: every user of the machine can read its policy. A
// password is refused; what may be a token in an address is a warning.
func (p *policyLayer) tooOpen(f field, at key, text string, src Source) bool {
	if f.typ != reflect.TypeFor[token.Secret]() {
		return false
	}
	u, err := url.Parse(text)
	if err != nil {
		return false // told by the check of the setting
	}
	if u.User != nil {
		return !p.fault(src, at, "holds a user name or password, and every user of this machine can read its policy; set such an address in broker.yaml or the environment instead")
	}
	if u.RawQuery != "" || slices.ContainsFunc(strings.Split(u.Path, "/"), func(part string) bool { return len(part) >= longPart }) {
		p.warn(src, at, "may hold a secret in its address, and every user of this machine can read its policy; set such an address in broker.yaml instead")
	}
	return false
}
