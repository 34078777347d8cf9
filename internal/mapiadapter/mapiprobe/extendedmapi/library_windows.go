package extendedmapi

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

var (
	msi                            = windows.NewLazySystemDLL("msi.dll")
	procMsiProvideQualifiedCompont = msi.NewProc("MsiProvideQualifiedComponentW")
)

// installModeExisting is INSTALLMODE_EXISTING (msi.h): the path where the file
// exists, and no installation or repair.
const installModeExisting = ^uintptr(0)

// system is this computer.
type system struct{}

func (system) values(key, name string) []string {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.QUERY_VALUE)
	if err != nil {
		return nil
	}
	defer k.Close() //nolint:errcheck // it was only read
	if s, kind, err := k.GetStringValue(name); err == nil {
		if kind == registry.EXPAND_SZ {
			s, err = registry.ExpandString(s)
		}
		if err != nil || s == "" {
			return nil
		}
		return []string{s}
	}
	if all, _, err := k.GetStringsValue(name); err == nil {
		return all
	}
	if n, _, err := k.GetIntegerValue(name); err == nil {
		return []string{strconv.FormatUint(n, 10)}
	}
	return nil
}

func (system) published(component, qualifier string) string {
	c, err := windows.UTF16PtrFromString(component)
	if err != nil {
		return ""
	}
	q, err := windows.UTF16PtrFromString(qualifier)
	if err != nil || procMsiProvideQualifiedCompont.Find() != nil {
		return ""
	}
	var path [windows.MAX_PATH + 1]uint16
	size := uint32(len(path))
	r, _, _ := procMsiProvideQualifiedCompont.Call(uintptr(unsafe.Pointer(c)), uintptr(unsafe.Pointer(q)), installModeExisting,
		uintptr(unsafe.Pointer(&path[0])), uintptr(unsafe.Pointer(&size)))
	if windows.Errno(r) != windows.ERROR_SUCCESS {
		return ""
	}
	return windows.UTF16ToString(path[:])
}
