package desktop

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// hive is the registry of an account: HKEY_CURRENT_USER, or HKEY_USERS\<SID>
// while that account is logged on.
type hive struct {
	root   registry.Key
	prefix string
}

// hiveOf is the account's hive. This process's own is HKEY_CURRENT_USER.
func hiveOf(sid, own string) hive {
	if sid == "" || sid == own {
		return hive{root: registry.CURRENT_USER}
	}
	return hive{root: registry.USERS, prefix: sid + `\`}
}

// text is a value that is a text, or a number as text; empty: there is none.
// An empty name is the key's default value. view is 0, KEY_WOW64_64KEY or
// KEY_WOW64_32KEY.
func (h hive) text(path, name string, view uint32) string {
	k, err := registry.OpenKey(h.root, h.prefix+path, registry.QUERY_VALUE|view)
	if err != nil {
		return ""
	}
	defer closeHandle(windows.Handle(k))
	s, kind, err := k.GetStringValue(name)
	if err == nil {
		if kind == registry.EXPAND_SZ {
			return expand(s)
		}
		return s
	}
	if n, _, err := k.GetIntegerValue(name); err == nil {
		return strconv.FormatUint(n, 10)
	}
	return ""
}

// number is a value that is a number, or a text that is one.
func (h hive) number(path, name string) setting {
	n, err := strconv.ParseUint(strings.TrimSpace(h.text(path, name, 0)), 10, 64)
	return setting{value: n, set: err == nil}
}

// keys are the names of the keys below a key.
func (h hive) keys(path string) ([]string, error) {
	k, err := registry.OpenKey(h.root, h.prefix+path, registry.ENUMERATE_SUB_KEYS)
	if errors.Is(err, registry.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closeHandle(windows.Handle(k))
	return k.ReadSubKeyNames(-1)
}

// expand replaces %VARIABLES%; what cannot be replaced stays.
func expand(s string) string {
	if e, err := registry.ExpandString(s); err == nil {
		return e
	}
	return s
}

// thisMachine is what the parsers of registry text ask for.
func thisMachine() (machine, error) {
	root, err := windows.GetSystemWindowsDirectory()
	if err != nil {
		return machine{}, err
	}
	return machine{root: strings.TrimRight(root, `\`), expand: expand, exists: isFile}, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
