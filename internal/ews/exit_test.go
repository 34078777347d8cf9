package ews

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// documented is Microsoft's list of operations.
func documented(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/operations.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

// TestTableIsComplete: every operation that Microsoft lists has a row, once, and
// one more has that only the mapping to Graph names.
func TestTableIsComplete(t *testing.T) {
	want := documented(t)
	at := slices.Index(want, "GetUserAvailability") + 1
	want = slices.Insert(want, at, "FindAvailableMeetingTimes")
	if got := Operations(); !slices.Equal(got, want) {
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Fatalf("row %d differs:\n got %q\nwant %q", i, got[min(i, len(got)):], want[min(i, len(want)):])
			}
		}
	}
	if len(want) < 90 {
		t.Errorf("only %d operations; the list is not whole", len(want))
	}
}

// permission is one name, as Mail.ReadWrite or User.ReadBasic.All.
var permission = regexp.MustCompile(`^[A-Z][A-Za-z]+\.(Read|ReadBasic|ReadWrite|Send|Export|ImportExport)(\.(All|Shared))?$`)

// TestRows: a call has a permission and a form, no call has a note that says so,
// and notes are sentences.
func TestRows(t *testing.T) {
	call := regexp.MustCompile(`^(GET|POST|PATCH|DELETE) /(me|users|groups|places|subscriptions|admin)\b`)
	for _, r := range table {
		switch {
		case r.Graph == "" && (r.Permission != "" || r.Also != nil || !strings.HasPrefix(r.Note, None)):
			t.Errorf("%s has no call, and more than a note that says so: %+v", r.Operation, r)
		case r.Graph != "" && (!call.MatchString(r.Graph) || !permission.MatchString(r.Permission)):
			t.Errorf("%s: %q with %q", r.Operation, r.Graph, r.Permission)
		}
		for _, p := range r.Also {
			if !permission.MatchString(p) || p == r.Permission {
				t.Errorf("%s: also %q", r.Operation, p)
			}
		}
		if r.Note != "" && !strings.HasSuffix(r.Note, ".") || strings.ContainsAny(r.Note, "|\n") {
			t.Errorf("%s: the note %q is no sentence for a table", r.Operation, r.Note)
		}
	}
}

func TestExit(t *testing.T) {
	if r := Exit("FindItem"); !strings.HasPrefix(r.Graph, "GET /me/mailFolders/{id}/messages") || r.Permission != "Mail.Read" {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{Other, "Nonsense", ""} {
		if r := Exit(name); r.Operation != Other || r.Graph != "" || r.Note == "" {
			t.Errorf("%q: %+v", name, r)
		}
	}
}

func TestPermissions(t *testing.T) {
	for _, tt := range []struct{ operations, need, also string }{
		{"", "", ""},
		{"other GetUserRetentionPolicyTags", "", ""},
		{"GetFolder", "Mail.ReadBasic", "Calendars.ReadBasic Contacts.Read"},
		{"GetFolder GetAttachment", "Mail.Read", "Calendars.Read Contacts.Read"},
		{"FindItem MoveItem SendItem", "Mail.ReadWrite Mail.Send", "Calendars.ReadBasic Contacts.Read Tasks.Read"},
		{"FindItem CreateItem", "Mail.ReadWrite", "Calendars.ReadWrite Contacts.ReadWrite Mail.Send Tasks.ReadWrite"},
		{"CreateItem SendItem", "Mail.ReadWrite Mail.Send", "Calendars.ReadWrite Contacts.ReadWrite Tasks.ReadWrite"},
		{"GetReminders GetItem", "Calendars.Read Mail.Read", "Contacts.Read Tasks.Read"},
		// A subscription is not content with a permission to write.
		{"MoveItem Subscribe", "Mail.ReadBasic Mail.ReadWrite", "Calendars.Read Contacts.Read"},
		{"FindItem Subscribe", "Mail.Read", "Calendars.Read Contacts.Read Tasks.Read"},
		{"CreateItem Subscribe Unsubscribe", "Mail.ReadBasic Mail.ReadWrite", "Calendars.Read Calendars.ReadWrite Contacts.Read Contacts.ReadWrite Mail.Send Tasks.ReadWrite"},
		{"Subscribe GetReminders", "Calendars.Read Mail.ReadBasic", "Contacts.Read"},
		{"ExportItems", "MailboxItem.Export", ""},
		{"ExportItems UploadItems", "MailboxItem.ImportExport", ""},
		{"GetUserAvailability FindAvailableMeetingTimes", "Calendars.Read.Shared Calendars.ReadBasic", ""},
		{"ConvertId GetServerTimeZones", "User.Read User.ReadBasic.All", ""},
		{"GetUserConfiguration UpdateUserConfiguration", "MailboxConfigItem.ReadWrite", ""},
	} {
		need, also := Permissions(strings.Fields(tt.operations))
		if got := strings.Join(need, " "); got != tt.need {
			t.Errorf("%s: needs %q, want %q", tt.operations, got, tt.need)
		}
		if got := strings.Join(also, " "); got != tt.also {
			t.Errorf("%s: also %q, want %q", tt.operations, got, tt.also)
		}
	}
}

func TestDaysLeft(t *testing.T) {
	for at, want := range map[string]int{
		"2026-11-22T00:00:00Z":      130,
		"2026-11-22T23:59:59Z":      130,
		"2027-03-31T23:59:59Z":      1,
		"2027-04-01T00:00:00Z":      0,
		"2027-04-01T01:00:00+02:00": 1,
		"2027-04-02T00:00:00Z":      -1,
		"2028-01-01T00:00:00Z":      -275,
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := DaysLeft(now); got != want {
			t.Errorf("%s: %d, want %d", at, got, want)
		}
	}
	if end, err := time.Parse(time.DateOnly, EndsOn); err != nil || DaysLeft(end) != 0 {
		t.Errorf("EndsOn %s: %v", EndsOn, err)
	}
}
