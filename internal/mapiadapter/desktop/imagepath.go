package desktop

import "strings"

// machine is what the parsers of registry text ask Windows for.
type machine struct {
	root   string              // the Windows folder: %SystemRoot%
	expand func(string) string // replaces %VARIABLES%
	exists func(string) bool   // whether a file is there
}

// serviceProgram is the program in a service's ImagePath, as CreateProcess would find
// it: the quoted part, or the shortest beginning that ends at a space and is a
// file, with ".exe" added where it has no extension. It is empty where there is
// no telling. Folders of the kernel (\SystemRoot\, \??\) and paths relative to
// the Windows folder are made whole.
func serviceProgram(imagePath string, m machine) string {
	s := strings.TrimSpace(m.expand(strings.TrimSpace(imagePath)))
	if rest, ok := strings.CutPrefix(s, `"`); ok {
		quoted, _, closed := strings.Cut(rest, `"`)
		if !closed {
			return ""
		}
		return firstFile(whole(quoted, m.root), m.exists)
	}
	for end := 0; end < len(s); {
		next := strings.IndexAny(s[end:], " \t")
		if next < 0 {
			next = len(s) - end
		}
		end += next
		if found := firstFile(whole(s[:end], m.root), m.exists); found != "" {
			return found
		}
		end++
	}
	return ""
}

// whole makes a path of the registry an absolute one of Win32, or nothing.
func whole(path, root string) string {
	path = strings.ReplaceAll(strings.TrimSpace(path), "/", `\`)
	for _, prefix := range []string{`\??\`, `\\?\`} {
		path = strings.TrimPrefix(path, prefix)
	}
	if rest, ok := cutPrefixFold(path, `\SystemRoot\`); ok {
		path = root + `\` + rest
	}
	if _, ok := cutPrefixFold(path, `System32\`); ok {
		path = root + `\` + path
	}
	if !absolute(path) {
		return ""
	}
	return path
}

// absolute reports a path with a drive letter, or of a share.
func absolute(path string) bool {
	if strings.HasPrefix(path, `\\`) {
		return len(path) > 2 && path[2] != '\\' && path[2] != '.' && path[2] != '?'
	}
	if len(path) < 3 || path[1] != ':' || path[2] != '\\' {
		return false
	}
	letter := path[0] | 0x20
	return 'a' <= letter && letter <= 'z'
}

func firstFile(path string, exists func(string) bool) string {
	if path == "" {
		return ""
	}
	if exists(path) {
		return path
	}
	if name := path[strings.LastIndexByte(path, '\\')+1:]; name != "" && !strings.Contains(name, ".") && exists(path+".exe") {
		return path + ".exe"
	}
	return ""
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
