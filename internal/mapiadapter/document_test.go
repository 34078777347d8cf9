package mapiadapter

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
	"github.com/m365-token-broker/broker/openapi"
)

// section is a part of docs/mapi.md, from its heading to the next one of any
// level.
func section(t *testing.T, heading string) string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/mapi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/mapi.md has no section %q", heading)
	}
	text, _, _ := strings.Cut(rest, "\n#")
	return text
}

// rows are the cells of the tables in a text, without their heads. What stands in
// backticks loses them where it is the whole cell.
func rows(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "| ---"):
			all = all[:len(all)-1] // the line before was the head
		case strings.HasPrefix(line, "|"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
				if inner := strings.Trim(cells[i], "`"); "`"+inner+"`" == cells[i] {
					cells[i] = inner
				}
			}
			all = append(all, cells)
		}
	}
	return all
}

// column is one column of the tables in a section, each cell once.
func column(t *testing.T, heading string, n int) []string {
	t.Helper()
	var all []string
	for _, row := range rows(section(t, heading)) {
		if slices.Contains(all, row[n]) {
			t.Errorf("docs/mapi.md, %s: %s is there twice", heading, row[n])
		}
		all = append(all, row[n])
	}
	return all
}

// same holds two lists of names to each other, in both directions.
func same(t *testing.T, what string, documented, code []string) {
	t.Helper()
	for _, name := range code {
		if !slices.Contains(documented, name) {
			t.Errorf("docs/mapi.md, %s: %s is missing", what, name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(code, name) {
			t.Errorf("docs/mapi.md, %s: the code has no %s", what, name)
		}
	}
}

// constants are the values of the string constants of a type in state.go and
// input.go, without the empty one.
func constants(t *testing.T, kind string) []string {
	t.Helper()
	var all []string
	for _, name := range []string{"state.go", "input.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || fmt.Sprint(spec.Type) != kind {
				return true
			}
			for _, v := range spec.Values {
				if text, err := strconv.Unquote(v.(*ast.BasicLit).Value); err == nil && text != "" {
					all = append(all, text)
				}
			}
			return true
		})
	}
	if len(all) == 0 {
		t.Fatalf("no constants of type %s were found", kind)
	}
	return all
}

func TestDocumentNames(t *testing.T) {
	same(t, "Phases", column(t, "### Phases", 0), constants(t, "Phase"))
	same(t, "Freshness", column(t, "### Freshness", 0), constants(t, "Freshness"))
	same(t, "Policies", column(t, "### Policies", 0), constants(t, "Policy"))
	how := section(t, "## How it works")
	for _, proof := range constants(t, "ProofKind") {
		if !strings.Contains(how, "`"+proof+"`") {
			t.Errorf("docs/mapi.md, How it works: the proof %s is missing", proof)
		}
	}
	phases := section(t, "### Phases")
	_, causes, _ := strings.Cut(phases, "for a **cause**")
	var listed []string
	for _, m := range regexp.MustCompile("`([a-z]+)` \\(").FindAllStringSubmatch(causes, -1) {
		listed = append(listed, m[1])
	}
	same(t, "Phases, causes", listed, constants(t, "CauseKind"))
	for _, p := range constants(t, "Phase") {
		if !slices.Contains(Phases(), Phase(p)) {
			t.Errorf("Phases() has no %s", p)
		}
	}
}

// Every reason is explained under the phase that it is given in.
func TestDocumentReasons(t *testing.T) {
	phaseOf := map[string]string{string(ReasonServiceContext): string(Session0Broken)}
	for phase, reasons := range map[Phase]map[Reason]sentences{NeedsUser: needsUser, Unsupported: unsupported, Suspended: suspended} {
		for why := range reasons {
			phaseOf[string(why)] = string(phase)
		}
	}
	for why := range backoffMessages {
		phaseOf[string(why)] = string(Backoff)
	}
	same(t, "reasons of the code", slices.Collect(maps.Keys(phaseOf)), constants(t, "Reason"))
	var listed []string
	for _, heading := range []string{"### A person must act", "### It cannot work here", "### Suspended", "### Waiting for the next attempt"} {
		listed = append(listed, column(t, heading, 0)...)
		for _, row := range rows(section(t, heading)) {
			if row[1] != phaseOf[row[0]] {
				t.Errorf("docs/mapi.md, %s: %s is a reason of %s, not of %s", heading, row[0], phaseOf[row[0]], row[1])
			}
		}
	}
	same(t, "Troubleshooting", listed, constants(t, "Reason"))
}

// limitNames are the rows of the table of limits, by the fields of Limits.
var limitNames = map[string]string{
	"Look":          "longest time between two steps of a machine",
	"LookBusy":      "the same while an attempt is made; the agent then looks as often",
	"LookQuiet":     "how often the agent looks otherwise",
	"AgentAbsent":   "an agent that has not called for this long is gone",
	"Precheck":      "`precheck` at most",
	"Trigger":       "`trigger` at most",
	"Observe":       "`observe` at most",
	"ObserveLogon":  "`observe` at most, in a new logon",
	"NewLogon":      "a logon is new for",
	"HandOver":      "new Outlook in place of the classic one shows within",
	"Disconnected":  "Outlook disconnected, with a good network, before a person is asked",
	"Asking":        "a box on the screen counts after",
	"SettleLogon":   "a logon settles for",
	"SettlePerson":  "an unlock or a reconnect settles for",
	"Gone":          "`supervise`: Outlook may be missing for",
	"Closing":       "an Outlook closed sooner after our start was closed on purpose",
	"Debounce":      "reports within this time are one cause",
	"Refute":        "a refusal this soon after a proof contradicts it",
	"WatchProof":    "a renewal that came by itself is noted every",
	"ProbeEvery":    "between two probes",
	"ProbeAgain":    "between a failed probe and the one that confirms it",
	"ProbeTime":     "a probe's answer is waited for",
	"AgentEvery":    "between two starts of the agent by the broker",
	"AgentTries":    "starts of the agent by the broker for each logon",
	"LifetimeFirst": "lifetime while none is learned",
	"LifetimeMin":   "shortest learned lifetime",
	"LifetimeMax":   "longest learned lifetime",
	"DueShare":      "share of the lifetime after which a renewal is due",
	"BackoffFirst":  "first backoff; it doubles with each failure",
	"BackoffMax":    "longest backoff",
	"BackoffJitter": "a backoff is up to this much shorter or longer",
	"Circuit":       "failures in a row that suspend the target",
	"Reopened":      "what they count as after new evidence reopened it",
	"RefutedMax":    "contradicted proofs in a row that mean `session0_broken`",
	"Budget":        "budget of starts of Outlook",
	"Reminders":     "reminders after the first notification",
	"Daily":         "then, and for `suspended`, `unsupported` and `session0_broken`, every",
}

// measured reads a value of the document as the type that the limit has.
func measured(t *testing.T, text string, kind any) any {
	t.Helper()
	switch kind.(type) {
	case time.Duration:
		number, unit, _ := strings.Cut(text, " ")
		d, err := time.ParseDuration(number + strings.TrimSuffix(unit, "in"))
		if err != nil {
			t.Errorf("%q is no time", text)
		}
		return d
	case []time.Duration:
		var all []time.Duration
		for part := range strings.SplitSeq(text, ", ") {
			all = append(all, measured(t, part, time.Duration(0)).(time.Duration))
		}
		return all
	case []Allowance:
		var all []Allowance
		for part := range strings.SplitSeq(text, ", ") {
			number, in, _ := strings.Cut(part, " in ")
			all = append(all, Allowance{measured(t, number, 0).(int), measured(t, in, time.Duration(0)).(time.Duration)})
		}
		return all
	}
	number, percent := strings.CutSuffix(text, " %")
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		t.Errorf("%q is no number", text)
	}
	if percent {
		f /= 100
	}
	if _, whole := kind.(int); whole {
		return int(f)
	}
	return f
}

// Every field of Limits is a row of the table, with its value, and every row is a
// field.
func TestDocumentLimits(t *testing.T) {
	documented := map[string]string{}
	for _, row := range rows(section(t, "### Times and numbers")) {
		documented[row[0]] = row[1]
	}
	same(t, "Times and numbers", slices.Collect(maps.Keys(documented)), slices.Collect(maps.Values(limitNames)))
	limits := reflect.ValueOf(DefaultLimits())
	for field := range limits.Type().Fields() {
		name, ok := limitNames[field.Name]
		want := limits.FieldByIndex(field.Index).Interface()
		if !ok {
			t.Errorf("Limits.%s has no row; give it one in docs/mapi.md, and its name in limitNames", field.Name)
		} else if got := measured(t, documented[name], want); !reflect.DeepEqual(got, want) {
			t.Errorf("docs/mapi.md, Times and numbers: %s is %v, not %v", name, want, got)
		}
	}
}

// The events are those that the phases are told with.
func TestDocumentEvents(t *testing.T) {
	said := map[int]string{}
	for _, row := range rows(section(t, "## Looking after it")) {
		if n, err := strconv.Atoi(row[0]); err == nil {
			said[n] = row[1]
		}
	}
	code := map[int]string{noticeFresh: "idle", noticeDue: "due", noticeTriggered: "started", noticeProof: "proof"}
	for phase, n := range numbers {
		code[n] = string(phase)
	}
	for n, word := range code {
		if !strings.Contains(said[n], word) {
			t.Errorf("docs/mapi.md, Looking after it: event %d is not about %s, but: %q", n, word, said[n])
		}
	}
	if len(said) != len(code) {
		t.Errorf("docs/mapi.md, Looking after it: %d events, not %d", len(said), len(code))
	}
}

// The answers of ensure are those of the contract: phase by phase the status and
// the code.
func TestDocumentAnswers(t *testing.T) {
	_, contract, _ := strings.Cut(openapi.YAML(), "operationId: ensureMapiTarget")
	contract, _, _ = strings.Cut(contract, "parameters:")
	fixed := regexp.MustCompile("[0-9]{3}|`mapi-[a-z-]+`")
	answers := func(table [][]string) map[string][]string {
		all := map[string][]string{}
		for _, row := range table {
			for _, phase := range regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch("`"+strings.Trim(row[0], "`")+"`", -1) {
				all[phase[1]] = append(all[phase[1]], fixed.FindAllString(row[1], -1)...)
			}
		}
		return all
	}
	documented := answers(rows(strings.Split(section(t, "### The answers of ensure"), "| other answers")[0]))
	want := answers(rows(contract))
	same(t, "The answers of ensure", slices.Collect(maps.Keys(documented)), constants(t, "Phase"))
	for phase, codes := range want {
		if !slices.Equal(documented[phase], codes) {
			t.Errorf("docs/mapi.md, The answers of ensure: %s is answered with %v, not %v", phase, codes, documented[phase])
		}
	}
}

// Every HRESULT that a report of can cause something is in the table, and every
// line of it is what the code says.
func TestDocumentHResults(t *testing.T) {
	var listed []string
	for _, row := range rows(section(t, "### HRESULTs, and where a report leads")) {
		hr, err := mapiprobe.ParseHResult(row[0])
		if err != nil {
			t.Error(err)
			continue
		}
		listed = append(listed, mapiprobe.FormatHResult(hr))
		if name, class := mapiprobe.Name(hr), string(classOf(hr)); name != row[1] || class != row[2] {
			t.Errorf("docs/mapi.md: %s is %s of class %s, not %s of class %s", row[0], name, class, row[1], row[2])
		}
	}
	for _, facility := range []uint32{0x8000, 0x8001, 0x8004, 0x8007, 0x8008} { // those of MAPI's and COM's errors
		for code := range uint32(0x10000) {
			hr := facility<<16 | code
			if name := mapiprobe.FormatHResult(hr); classOf(hr) != ClassOther && !slices.Contains(listed, name) {
				t.Errorf("docs/mapi.md: %s (%s) is missing", name, mapiprobe.Name(hr))
			}
		}
	}
}

// The exit codes of the probe stand in a document of their own.
func TestDocumentProbe(t *testing.T) {
	code := map[string]string{}
	for _, c := range []mapiprobe.Class{
		mapiprobe.ClassOK, mapiprobe.ClassAuth, mapiprobe.ClassLogon, mapiprobe.ClassNetwork, mapiprobe.ClassBusy,
		mapiprobe.ClassConfiguration, mapiprobe.ClassInstallation, mapiprobe.ClassOther,
	} {
		code[string(c)] = strconv.Itoa(c.ExitCode())
	}
	raw, err := os.ReadFile("../../docs/mapi-probe.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	table, _, _ := strings.Cut(string(raw), "\n## ")
	for _, row := range rows(table) {
		if row[1] != "" { // else it is an exit code of every command
			documented[row[1]] = row[0]
		}
	}
	if !maps.Equal(documented, code) {
		t.Errorf("docs/mapi-probe.md: the exit codes are %v, not %v", code, documented)
	}
}

func TestDocumentSettings(t *testing.T) {
	var keys []string
	for field := range reflect.TypeFor[config.Target]().Fields() {
		keys = append(keys, field.Tag.Get("yaml"))
	}
	same(t, "Settings", column(t, "### Settings", 0), keys)
}
