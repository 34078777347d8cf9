package desktop

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Where the registry says where Outlook is, and which of the two.
const (
	appPaths     = `SOFTWARE\Microsoft\Windows\CurrentVersion\App Paths\` + classicImage
	clickToRun   = `SOFTWARE\Microsoft\Office\ClickToRun\Configuration`
	installRoot  = `SOFTWARE\Microsoft\Office\16.0\Outlook\InstallRoot`
	outlookKey   = `Software\Microsoft\Office\16.0\Outlook`
	outlookRules = `Software\Policies\Microsoft\Office\16.0\Outlook`
)

// installation is the classic Outlook of this machine, and what the account's
// registry says about new Outlook.
func installation(user hive, m machine) Installation {
	local := hive{root: registry.LOCAL_MACHINE}
	views := []uint32{registry.WOW64_64KEY, registry.WOW64_32KEY}
	var candidates []string
	for _, view := range views {
		candidates = append(candidates, local.text(appPaths, "", view))
	}
	candidates = append(candidates, user.text(appPaths, "", 0))
	for _, view := range views {
		candidates = append(candidates,
			clickToRunOutlook(local.text(clickToRun, "InstallationPath", view)),
			inFolder(local.text(installRoot, "Path", view)))
	}
	i := Installation{Path: outlookAmong(candidates, m)}
	if i.Path != "" {
		i.Bitness = bitnessOf(i.Path, nativeBitness())
		i.Version = fileVersion(i.Path)
		if i.Version == "" {
			i.Version = local.text(clickToRun, "VersionToReport", registry.WOW64_64KEY)
		}
	}
	used := user.number(outlookRules+`\Preferences`, "UseNewOutlook").or(user.number(outlookKey+`\Preferences`, "UseNewOutlook"))
	i.NewInUse = used.value == 1
	i.Migrating = migration{
		policyMigrates: user.number(outlookRules+`\Options\General`, "DoNewOutlookAutoMigration"),
		userMigrates:   user.number(outlookKey+`\Options\General`, "DoNewOutlookAutoMigration"),
		policyAllows:   user.number(outlookRules+`\Preferences`, "NewOutlookMigrationUserSetting"),
		userAllows:     user.number(outlookKey+`\Preferences`, "NewOutlookMigrationUserSetting"),
	}.running()
	return i
}

// profiles are the Outlook profiles of the account: names only.
func profiles(user hive) Profiles {
	names, _ := user.keys(outlookKey + `\Profiles`) // what cannot be read is not there
	if names == nil {
		names = []string{}
	}
	asks := user.number(`Software\Microsoft\Exchange\Client\Options`, "PickLogonProfile").value == 1 ||
		user.number(outlookKey, "PickLogonProfile").value == 1
	return Profiles{Names: names, Default: user.text(outlookKey, "DefaultProfile", 0), Asks: asks}
}

// nativeBitness is the machine type of Windows itself.
func nativeBitness() Bitness {
	var process, native uint16
	if windows.IsWow64Process2(windows.CurrentProcess(), &process, &native) == nil {
		switch native {
		case 0xaa64: // IMAGE_FILE_MACHINE_ARM64
			return ARM64
		case 0x014c: // IMAGE_FILE_MACHINE_I386
			return X86
		}
	}
	return X64
}

// fileVersion is the version of a program's file; empty: it has none.
func fileVersion(path string) string {
	var none windows.Handle
	size, err := windows.GetFileVersionInfoSize(path, &none)
	if err != nil || size == 0 {
		return ""
	}
	info := make([]byte, size)
	if windows.GetFileVersionInfo(path, 0, size, unsafe.Pointer(&info[0])) != nil {
		return ""
	}
	var fixed *windows.VS_FIXEDFILEINFO
	var length uint32
	if windows.VerQueryValue(unsafe.Pointer(&info[0]), `\`, unsafe.Pointer(&fixed), &length) != nil || fixed == nil {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d.%d", fixed.FileVersionMS>>16, fixed.FileVersionMS&0xffff, fixed.FileVersionLS>>16, fixed.FileVersionLS&0xffff)
}
