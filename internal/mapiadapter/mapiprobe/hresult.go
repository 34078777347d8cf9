package mapiprobe

import (
	"fmt"
	"strconv"
	"strings"
)

// Class says what a result means for the question "does this profile's sign-in
// still work, and would it help to start Outlook?".
type Class string

// The classes. Only ClassAuth means by itself that Outlook has to renew its
// tokens; ClassLogon does so where the agent's own session fails too.
const (
	ClassOK            Class = "ok"
	ClassAuth          Class = "auth"
	ClassLogon         Class = "logon"         // MAPI_E_LOGON_FAILED: the tokens, the profile, or too many sessions
	ClassNetwork       Class = "network"       // the server or the way to it
	ClassBusy          Class = "busy"          // later is another try
	ClassConfiguration Class = "configuration" // the profile, the mailbox's rights, the wrong bitness
	ClassInstallation  Class = "installation"  // Outlook or Windows
	ClassOther         Class = "other"
)

// The results that the probe itself finds, as HRESULT_FROM_WIN32 has them.
const (
	HResultNoMAPI   uint32 = 0x8007007E // ERROR_MOD_NOT_FOUND: no MAPI is installed
	HResultBitness  uint32 = 0x800700C1 // ERROR_BAD_EXE_FORMAT: MAPI is of another bitness
	HResultNoAnswer uint32 = 0x80070102 // WAIT_TIMEOUT: MAPI did not come back in time
	hresultNoEntry  uint32 = 0x8007007F // ERROR_PROC_NOT_FOUND: what was loaded is not Extended MAPI
)

// meaning is what is known of one HRESULT.
type meaning struct {
	name     string
	class    Class
	sentence string
}

// meanings are the HRESULTs that Extended MAPI gives at a logon, an opening or a
// reading. Values and names: MAPICode.h of Microsoft's MAPIStubLibrary, and
// winerror.h. What they mean for tokens: MAPI's reference (MAPIInitialize,
// MAPILogonEx, OpenMsgStore), and for MAPI_E_FAILONEPROVIDER what Microsoft says
// in microsoft/mfcmapi, issues 407 and 529.
var meanings = map[uint32]meaning{
	0x8004011D: {"MAPI_E_FAILONEPROVIDER", ClassAuth, "The mailbox refused without being allowed to ask a person, most often because Office's token is no longer valid; Outlook has to sign in again in that account's session."},
	0x80040113: {"MAPI_E_USER_CANCEL", ClassAuth, "A sign-in box was closed; sign in to Outlook in that account's session."},
	0x80040120: {"MAPI_E_PASSWORD_CHANGE_REQUIRED", ClassAuth, "The password has to be changed; sign in to Outlook in that account's session."},
	0x80040121: {"MAPI_E_PASSWORD_EXPIRED", ClassAuth, "The password has expired; change it, then sign in to Outlook in that account's session."},
	0x80040122: {"MAPI_E_INVALID_WORKSTATION_ACCOUNT", ClassAuth, "The account may not log on from this computer; ask an administrator."},
	0x80040123: {"MAPI_E_INVALID_ACCESS_TIME", ClassAuth, "The account may not log on at this time; ask an administrator."},
	0x80040124: {"MAPI_E_ACCOUNT_DISABLED", ClassAuth, "The account is disabled; ask an administrator."},

	0x80040111: {"MAPI_E_LOGON_FAILED", ClassLogon, "MAPI could not log on without asking a person; open this profile in Outlook once, in that account's session."},

	0x80040115: {"MAPI_E_NETWORK_ERROR", ClassNetwork, "The mail server cannot be reached; look at the network, the proxy and the server."},
	0x800706BA: {"RPC_S_SERVER_UNAVAILABLE", ClassNetwork, "The mail server cannot be reached; look at the network, the proxy and the server."},

	0x80040401:      {"MAPI_E_TIMEOUT", ClassBusy, "Another program was logging on to MAPI for too long; try again later."},
	0x80040400:      {"MAPI_E_UNABLE_TO_COMPLETE", ClassBusy, "MAPI could not finish; try again later."},
	0x8004010B:      {"MAPI_E_BUSY", ClassBusy, "MAPI is busy; try again later."},
	0x8004010E:      {"MAPI_E_NOT_ENOUGH_RESOURCES", ClassBusy, "The system has not enough resources for MAPI; end programs, or try again later."},
	0x80040112:      {"MAPI_E_SESSION_LIMIT", ClassBusy, "Too many MAPI sessions are open, or the memory is used up; end programs, or try again later."},
	0x80040200:      {"MAPI_E_END_OF_SESSION", ClassBusy, "The MAPI session was ended by somebody else; log on again."},
	0x80040500:      {"MAPI_E_WAIT", ClassBusy, "MAPI asks for patience; try again later."},
	0x8007000E:      {"MAPI_E_NOT_ENOUGH_MEMORY", ClassBusy, "There is not enough memory for MAPI; end programs, or try again later."},
	0x80080005:      {"CO_E_SERVER_EXEC_FAILURE", ClassBusy, "A part of Office could not be started, as happens while Office is being updated; try again later."},
	HResultNoAnswer: {"WAIT_TIMEOUT", ClassBusy, "MAPI did not answer in time; another program may be logging on, or a box that nobody sees may be open in that session."},

	0x8004011C:     {"MAPI_E_UNCONFIGURED", ClassConfiguration, "The Outlook profile is not complete; open it in Outlook once, or make it again."},
	0x8004010F:     {"MAPI_E_NOT_FOUND", ClassConfiguration, "The Outlook profile, its mailbox, or what was asked for does not exist; look at the profile's name in that account."},
	0x80040402:     {"MAPI_E_TABLE_EMPTY", ClassConfiguration, "The Outlook profile has no mailbox; add one in Outlook."},
	0x80040105:     {"MAPI_E_STRING_TOO_LONG", ClassConfiguration, "A name is too long for MAPI; a profile's name has at most 64 characters."},
	0x80040107:     {"MAPI_E_INVALID_ENTRYID", ClassConfiguration, "The profile points to a mailbox that is not what it was; make the profile again."},
	0x80040201:     {"MAPI_E_UNKNOWN_ENTRYID", ClassConfiguration, "The profile points to a mailbox that no service of it knows; make the profile again."},
	0x80040600:     {"MAPI_E_CORRUPT_STORE", ClassConfiguration, "The local copy of the mailbox is damaged; let Outlook make the profile's OST file again."},
	0x8004011E:     {"MAPI_E_UNKNOWN_CPID", ClassConfiguration, "The server does not know this account's code page; look at the region settings."},
	0x8004011F:     {"MAPI_E_UNKNOWN_LCID", ClassConfiguration, "The server does not know this account's language; look at the region settings."},
	0x80070005:     {"MAPI_E_NO_ACCESS", ClassConfiguration, "The account has no right to this mailbox or profile; ask an administrator."},
	0x80070520:     {"ERROR_NO_SUCH_LOGON_SESSION", ClassConfiguration, "This process runs in a logon session in which Office cannot sign in; it needs an interactive session of the same account."},
	HResultBitness: {"ERROR_BAD_EXE_FORMAT", ClassConfiguration, "A DLL of Outlook cannot be loaded into this program: the two differ in bitness, or the DLL is damaged."},

	0x80040605:     {"MAPI_E_NOT_INITIALIZED", ClassInstallation, "MAPI could not read its profiles; repair Office, and look at the account's registry."},
	0x80040117:     {"MAPI_E_TOO_COMPLEX", ClassInstallation, "MAPI could not set up its registry keys for a service; look at the application event log."},
	0x80040110:     {"MAPI_E_VERSION", ClassInstallation, "MAPI and this Windows do not fit together; repair or update Office."},
	0x80040154:     {"REGDB_E_CLASSNOTREG", ClassInstallation, "A part of Office is not registered, or of another bitness; repair Office, and use programs of Outlook's bitness."},
	0x80004002:     {"MAPI_E_INTERFACE_NOT_SUPPORTED", ClassInstallation, "What answered is not Outlook's MAPI; repair Office."},
	HResultNoMAPI:  {"ERROR_MOD_NOT_FOUND", ClassInstallation, "There is no Extended MAPI on this computer; install the classic Outlook."},
	hresultNoEntry: {"ERROR_PROC_NOT_FOUND", ClassInstallation, "The default mail program has no Extended MAPI; install the classic Outlook."},

	0x80004005: {"MAPI_E_CALL_FAILED", ClassOther, "MAPI failed and does not say why; open this profile in Outlook to see."},
	0x80070057: {"MAPI_E_INVALID_PARAMETER", ClassOther, "MAPI did not accept a parameter."},
	0x80040102: {"MAPI_E_NO_SUPPORT", ClassOther, "This mailbox cannot do what was asked; it is probably not an Exchange mailbox."},
	0x80040103: {"MAPI_E_BAD_CHARWIDTH", ClassOther, "This MAPI does not take Unicode."},
	0x80040106: {"MAPI_E_UNKNOWN_FLAGS", ClassOther, "This mailbox does not know what was asked; it is probably not an Exchange mailbox."},
	0x80040108: {"MAPI_E_INVALID_OBJECT", ClassOther, "MAPI lost an object, most often because resources are used up."},
	0x80040109: {"MAPI_E_OBJECT_CHANGED", ClassOther, "Somebody else changed the object; read it again."},
	0x8004010A: {"MAPI_E_OBJECT_DELETED", ClassOther, "Somebody else deleted the object."},
	0x8004010D: {"MAPI_E_NOT_ENOUGH_DISK", ClassOther, "The disk is full."},
	0x80040116: {"MAPI_E_DISK_ERROR", ClassOther, "The disk or the profile's OST file cannot be read; look at both."},
	0x80040119: {"MAPI_E_EXTENDED_ERROR", ClassOther, "The mailbox gave an error of its own; open this profile in Outlook to see."},
	0x8004011B: {"MAPI_E_CORRUPT_DATA", ClassOther, "Data of the mailbox or the profile are damaged; open this profile in Outlook to see."},
	0x80040501: {"MAPI_E_CANCEL", ClassOther, "MAPI was told to stop."},
	0x80040604: {"MAPI_E_COLLISION", ClassOther, "A name is taken already."},
	0x80010106: {"RPC_E_CHANGED_MODE", ClassOther, "The thread uses COM in another way than MAPI needs."},
	0x800401F0: {"CO_E_NOTINITIALIZED", ClassOther, "The thread has not set COM up."},
}

// Name is the symbol of an HRESULT in Microsoft's headers; "" where this program
// does not know it.
func Name(hr uint32) string {
	if hr == 0 {
		return "S_OK"
	}
	return meanings[hr].name
}

// Classify is the class of an HRESULT. A success with a warning is ClassOK, as
// MAPI's reference wants it.
func Classify(hr uint32) Class {
	if !failed(hr) {
		return ClassOK
	}
	if m, known := meanings[hr]; known {
		return m.class
	}
	return ClassOther
}

// Sentence says in one sentence what an HRESULT means and what to do.
func Sentence(hr uint32) string {
	if !failed(hr) {
		return "The mailbox answered."
	}
	if m, known := meanings[hr]; known {
		return m.sentence
	}
	return "MAPI gave an error that this program does not know; look it up by its number."
}

// failed is the FAILED macro of winerror.h.
func failed(hr uint32) bool { return hr&0x80000000 != 0 }

// FormatHResult writes an HRESULT as Microsoft does: 0x8004011D.
func FormatHResult(hr uint32) string { return fmt.Sprintf("0x%08X", hr) }

// ParseHResult reads an HRESULT as people and programs write it: "0x8004011D",
// "8004011D" (eight digits are always hexadecimal), and decimal, as unsigned
// ("2147746077") or as the int that .NET and scripts print ("-2147221219").
func ParseHResult(s string) (uint32, error) {
	text := strings.TrimSpace(s)
	if rest, hex := cutHexPrefix(text); hex || len(text) == 8 && !strings.HasPrefix(text, "-") {
		if n, err := strconv.ParseUint(rest, 16, 32); err == nil && !strings.ContainsAny(rest, "+_") {
			return uint32(n), nil
		}
		return 0, badHResult(s)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strings.HasPrefix(text, "+") || n < -1<<31 || n > 1<<32-1 {
		return 0, badHResult(s)
	}
	return uint32(n), nil
}

func cutHexPrefix(s string) (string, bool) {
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		return s[2:], true
	}
	return s, false
}

func badHResult(s string) error {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return fmt.Errorf("%q is not an HRESULT; write it as 0x8004011D or as a 32-bit number", s)
}
