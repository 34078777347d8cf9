package main

import (
	"errors"
	"fmt"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// The codes that a service ends with. They are part of the product's interface,
// like the exit codes of the commands: none is ever given another meaning.
const (
	codeInternal lifecycle.ServiceCode = iota + 1
	codeConfig
	codeAddress
	codeLocked
	codeStore
	codeRights
	codeStuck
)

// cause is what a code means.
type cause struct{ name, text, remedy string }

// causeOf is the cause of a code. The zero code is a good end.
func causeOf(code lifecycle.ServiceCode) cause {
	const log = "Read the last lines of the log; broker service status says where it is."
	switch code {
	case 0:
		return cause{"none", "it ended as it was told to", ""}
	case codeConfig:
		return cause{"configuration", "the configuration is not right", "See what is wrong with: broker config check"}
	case codeAddress:
		return cause{"address", "another program has the address, socket or pipe of the broker", "End that program, or change the setting listen, socket or pipe."}
	case codeLocked:
		return cause{"locked", "another broker uses the state directory", "End the other broker; its process is in the log."}
	case codeStore:
		return cause{"store", "the secret store does not work", "See why with: broker doctor"}
	case codeRights:
		return cause{"rights", "other users can reach the state directory, the admin key or another file that must be private", "The log has the command that mends it; or run: broker service configure"}
	case codeStuck:
		return cause{"stuck", "a part of it did not stop in time", "Report this, with the stacks at the end of the log."}
	case codeInternal:
		return cause{"internal", "something went wrong that has no code of its own", log}
	default:
		return cause{fmt.Sprint(uint32(code)), fmt.Sprintf("it ended with code %d, which this version does not know", code), log}
	}
}

// codeOf is the code of an error that ends a service.
func codeOf(err error) lifecycle.ServiceCode {
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[*lifecycle.StuckError](err); ok {
		return codeStuck
	}
	if _, ok := errors.AsType[*config.Error](err); ok {
		return codeConfig
	}
	if _, ok := errors.AsType[*lifecycle.LockedError](err); ok {
		return codeLocked
	}
	if _, ok := errors.AsType[*ownerfile.AccessError](err); ok {
		return codeRights
	}
	if _, ok := errors.AsType[*credstore.Error](err); ok {
		return codeStore
	}
	if e, ok := errors.AsType[*token.Error](err); ok && e.Kind == token.KindConflict {
		return codeAddress
	}
	return codeInternal
}

// The system's own words for an end (winerror.h) that say more here.
const (
	win32Crashed      = 1067 // ERROR_PROCESS_ABORTED
	win32NeverStarted = 1077 // ERROR_SERVICE_NEVER_STARTED
	win32Timeout      = 1053 // ERROR_SERVICE_REQUEST_TIMEOUT
)

// endNumber is the number of an end, in brackets: ours, or that of the system where
// serviceEnd does not say it. An end that is in order has none.
func endNumber(f lifecycle.ServiceFacts) string {
	switch f.Win32 {
	case lifecycle.CodeSpecific:
		return fmt.Sprintf(" (code %d)", uint32(f.Code))
	case win32Crashed, win32Timeout, lifecycle.CodeLogonFailed:
		return fmt.Sprintf(" (Windows error %d)", f.Win32)
	default:
		return ""
	}
}

// serviceEnd says why a service ended, and what to do.
func serviceEnd(f lifecycle.ServiceFacts) (why, remedy string) {
	switch f.Win32 {
	case 0:
		return causeOf(0).text, ""
	case lifecycle.CodeSpecific:
		c := causeOf(f.Code)
		return c.text, c.remedy
	case win32NeverStarted:
		return "it has not been started since the machine was", "Start it with: broker service start"
	case win32Crashed:
		return "its process ended without a word", "The next start writes what the crash left into the log."
	case win32Timeout:
		return "it did not answer the service manager in time", "Read the last lines of the log."
	case lifecycle.CodeLogonFailed:
		return "its account could not log on", `Check the password, and that the account may log on as a service: broker service install --account DOMAIN\user`
	default:
		return fmt.Sprintf("Windows says error %d", f.Win32), fmt.Sprintf("See: net helpmsg %d", f.Win32)
	}
}
