package desktop

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// longestProfile is how many characters the name of a MAPI profile may have.
const longestProfile = 64

// checkProfile refuses a name that is no profile of the account, or that could
// be read as anything but a name on a command line.
func checkProfile(name string, known []string) *Refusal {
	detail := ""
	switch {
	case name == "":
		detail = "No Outlook profile is named: set the profile in the target's configuration."
	case utf8.RuneCountInString(name) > longestProfile:
		detail = fmt.Sprintf("The name of the Outlook profile has more than %d characters: create a profile with a shorter name.", longestProfile)
	case strings.ContainsAny(name, `"\`) || strings.ContainsFunc(name, notPlain) || strings.ContainsAny(name[:1], "/-") || !utf8.ValidString(name):
		detail = "The name of the Outlook profile has characters that cannot stand in a command line: create a profile with a plain name."
	case !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }):
		detail = "This account has no Outlook profile of that name: create it under Mail in the Control Panel, or correct the name in the configuration."
	default:
		return nil
	}
	return &Refusal{Reason: RefusedNoProfile, Detail: detail}
}

func notPlain(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// commandLine is the command line for a program without quotes in its path, with
// every argument quoted that is no switch. Nothing in it needs escaping: a path
// has no quotes, and checkProfile saw the profile's name.
func commandLine(program string, arguments []string) string {
	var b strings.Builder
	b.WriteString(`"` + program + `"`)
	for _, a := range arguments {
		if strings.HasPrefix(a, "/") {
			b.WriteString(" " + a)
			continue
		}
		b.WriteString(` "` + a + `"`)
	}
	return b.String()
}
