package desktop

import "strings"

// classicImage and newImage are the programs of the two Outlooks.
const (
	classicImage = "OUTLOOK.EXE"
	newImage     = "olk.exe"
)

// outlookAmong is the first of the candidates, as the registry has them, that is
// an OUTLOOK.EXE with an absolute path on this machine; empty: there is none.
func outlookAmong(candidates []string, m machine) string {
	for _, c := range candidates {
		path := strings.Trim(strings.TrimSpace(m.expand(c)), `"`)
		path = whole(path, m.root)
		if path == "" || strings.HasPrefix(path, `\\`) { // a program of a share is nobody's installation
			continue
		}
		if strings.EqualFold(imageOf(path), classicImage) && m.exists(path) {
			return path
		}
	}
	return ""
}

// imageOf is the file's name at the end of a path.
func imageOf(path string) string { return path[strings.LastIndexByte(path, '\\')+1:] }

// folderOf is the path of the file's folder.
func folderOf(path string) string {
	if i := strings.LastIndexByte(path, '\\'); i > 0 {
		return path[:i]
	}
	return ""
}

// clickToRunOutlook is the OUTLOOK.EXE of a Click-to-Run installation folder.
func clickToRunOutlook(installationPath string) string {
	if installationPath == "" {
		return ""
	}
	return strings.TrimRight(installationPath, `\`) + `\root\Office16\` + classicImage
}

// inFolder joins a folder of the registry, with or without the last backslash,
// and OUTLOOK.EXE.
func inFolder(folder string) string {
	if folder == "" {
		return ""
	}
	return strings.TrimRight(folder, `\`) + `\` + classicImage
}

// setting is a DWORD of the registry that may not be there.
type setting struct {
	value uint64
	set   bool
}

// or is the first of two settings that is there: the policy before the person.
func (s setting) or(next setting) setting {
	if s.set {
		return s
	}
	return next
}

// migration is what the registry says about moving to new Outlook.
// Source: "Policy to control new Outlook" (Microsoft's pages on
// DoNewOutlookAutoMigration and NewOutlookMigrationUserSetting).
type migration struct {
	policyMigrates, userMigrates setting // DoNewOutlookAutoMigration
	policyAllows, userAllows     setting // NewOutlookMigrationUserSetting: 0 forbids
}

// running reports whether each start of Outlook is a step towards new Outlook. An
// administrator's order stands against a setting that forbids; a person's does not.
func (m migration) running() bool {
	if m.policyMigrates.set {
		return m.policyMigrates.value == 1
	}
	allows := m.policyAllows.or(m.userAllows)
	return m.userMigrates.set && m.userMigrates.value == 1 && (!allows.set || allows.value != 0)
}
