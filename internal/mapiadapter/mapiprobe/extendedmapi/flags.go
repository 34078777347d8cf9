package extendedmapi

import "github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"

// MAPI's flags (MAPIX.h and MAPIDefS.h of Microsoft's MAPIStubLibrary; MDB_ONLINE
// and MAPI_NO_CACHE from MAPI's reference, "MAPI Constants"). Those that could
// write or ask, MDB_WRITE, MAPI_MODIFY, MAPI_BEST_ACCESS and MAPI_LOGON_UI, are
// not here.
const (
	flagNewSession      uint32 = 0x00000002
	flagExplicitProfile uint32 = 0x00000010
	flagExtended        uint32 = 0x00000020
	flagNoMail          uint32 = 0x00008000
	flagNTService       uint32 = 0x00010000 // for services, and for nobody else
	flagTimeoutShort    uint32 = 0x00100000
	flagUnicode         uint32 = 0x80000000

	flagMultithreadNotifications uint32 = 0x00000001

	flagStoreNoDialog  uint32 = 0x00000001
	flagStoreTemporary uint32 = 0x00000020
	flagStoreNoMail    uint32 = 0x00000080
	flagStoreOnline    uint32 = 0x00000100

	flagEntryNoCache uint32 = 0x00000200
)

// initializeFlags are for MAPIInitialize.
func initializeFlags(service bool) uint32 {
	return withService(flagMultithreadNotifications, service)
}

// logonFlags are for MAPILogonEx: this profile in a session of its own, without
// the spooler, and not waiting for the logon of another program.
func logonFlags(service bool) uint32 {
	return withService(flagExtended|flagNewSession|flagExplicitProfile|flagNoMail|flagTimeoutShort|flagUnicode, service)
}

func withService(flags uint32, service bool) uint32 {
	if service {
		return flags | flagNTService
	}
	return flags
}

// storeFlags are for OpenMsgStore: read only, which is the default.
func storeFlags(mode mapiprobe.Mode) uint32 {
	flags := flagStoreNoDialog | flagStoreNoMail | flagStoreTemporary
	if mode == mapiprobe.Online {
		flags |= flagStoreOnline
	}
	return flags
}

// entryFlags are for IMsgStore::OpenEntry. A cached mailbox opens and reads from
// its local copy with a dead token too, so there the folder is asked of the
// server.
func entryFlags(mode mapiprobe.Mode) uint32 {
	if mode == mapiprobe.Cached {
		return flagEntryNoCache
	}
	return 0
}
