package mapiadapter

import "github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"

// classOf says what an HRESULT of a consumer or of the probe means for the
// machine.
func classOf(hr uint32) Class {
	if hr >= firstAccountError && hr <= lastAccountError {
		return ClassAccount
	}
	switch mapiprobe.Classify(hr) {
	case mapiprobe.ClassAuth:
		return ClassAuth
	case mapiprobe.ClassLogon:
		return ClassLogon
	default:
		return ClassOther
	}
}

// MAPI_E_PASSWORD_CHANGE_REQUIRED to MAPI_E_ACCOUNT_DISABLED (MAPICode.h): the
// account itself needs a person.
const (
	firstAccountError = 0x80040120
	lastAccountError  = 0x80040124
)
