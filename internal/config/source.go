package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// SourceKind says what kind of place a setting came from.
type SourceKind string

// The kinds of source, in rising order of precedence.
const (
	FromDefault   SourceKind = "default"
	FromBuiltin   SourceKind = "built in"
	FromPolicy    SourceKind = "policy"
	FromFile      SourceKind = "file"
	FromEnv       SourceKind = "environment"
	FromFlag      SourceKind = "flag"
	FromMandatory SourceKind = "mandatory policy"
)

// Source is where one setting came from. The zero Source is the default.
type Source struct {
	Kind SourceKind
	Name string // path of the file or of the registry's value, name of the variable, flag, or cloud
	Line int    // in a file, from 1; 0 = the file as a whole
}

// String is the source as people read it: "/etc/broker.yaml:12",
// "BROKER_LISTEN", "--listen", "built in for cloud global" or "default".
func (s Source) String() string {
	switch s.Kind {
	case FromFile:
		if s.Line > 0 {
			return fmt.Sprintf("%s:%d", s.Name, s.Line)
		}
		return s.Name
	case FromEnv, FromFlag, FromPolicy, FromMandatory:
		return s.Name
	case FromBuiltin:
		return "built in for cloud " + s.Name
	case FromDefault:
	}
	return string(FromDefault)
}

// shown is the source as the list of settings has it. Of a policy it is the key and
// the part; the value has the setting's name.
func (s Source) shown() string {
	if s.Kind != FromPolicy && s.Kind != FromMandatory {
		return s.String()
	}
	return s.Name[:strings.LastIndexByte(s.Name, '\\')] + " (" + string(s.Kind) + ")"
}

// key is the way to a setting, its parts separated by slashes. Names may hold
// dots but no slash, so that a key is never ambiguous; people read it with dots.
type key string

func (k key) in(name string) key {
	if k == "" {
		return key(name)
	}
	return k + "/" + key(name)
}

func (k key) item(i int) key { return key(fmt.Sprintf("%s[%d]", string(k), i)) }

// name is the last part of the key.
func (k key) name() string { return string(k[strings.LastIndexByte(string(k), '/')+1:]) }

func (k key) String() string { return strings.ReplaceAll(string(k), "/", ".") }

// Problem is one thing wrong with the settings.
type Problem struct {
	Where Source // the zero Source where the problem has no place
	Key   string // for example consumers.crm.accounts; empty = the file as a whole
	Text  string // what is wrong and what to do; never a secret
}

// String is "<place>: <key>: <text>", without the parts that are empty.
func (p Problem) String() string {
	s := p.Text
	// A value of the policy has the setting's name already.
	if named := strings.HasSuffix(strings.ToLower(p.Where.Name), `\`+p.Key); p.Key != "" && !named {
		s = p.Key + ": " + s
	}
	if p.Where != (Source{}) {
		s = p.Where.String() + ": " + s
	}
	return s
}

// Error is everything that is wrong with the settings, in the order of the
// policy, the files and their lines, then environment, then flags, then what is
// mandatory. It never holds a secret.
type Error struct{ Problems []Problem }

// Error is one line per problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// As lets token.AsError see a configuration problem as what it is, without a
// second text round the list that people read.
func (e *Error) As(target any) bool {
	t, ok := target.(**token.Error)
	if ok {
		*t = token.NewError(token.KindConfiguration, "read the configuration",
			`The configuration has a problem; "broker config check" names the file and the line.`)
	}
	return ok
}

// sortProblems orders problems as a person works them off: file by file in
// reading order, line by line.
func sortProblems(problems []Problem, files []string) {
	rank := func(p Problem) int {
		switch p.Where.Kind {
		case FromPolicy:
			return -2
		case FromFile:
			return slices.Index(files, p.Where.Name)
		case FromEnv:
			return len(files)
		case FromMandatory:
			return len(files) + 2
		default:
			return len(files) + 1
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Where.Line, b.Where.Line))
	})
}
