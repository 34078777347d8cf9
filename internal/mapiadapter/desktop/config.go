package desktop

import "time"

// Config is what New needs to know besides what Windows says by itself. The zero
// Config looks at the account that this process runs as.
type Config struct {
	// SID is the account whose registry and processes are looked at, where that
	// is not this process's own. Outlook is never started for another account.
	SID string
	// LocalAppData holds Office's token caches; empty: the account's own
	// %LOCALAPPDATA%.
	LocalAppData string
	// Patience is how long a running Outlook may take to answer; zero: ten seconds.
	Patience time.Duration
}

// Where is the place that this process runs in.
type Where struct {
	SessionID   uint32 `json:"session_id"`
	SID         string `json:"sid"`
	Account     string `json:"account"` // DOMAIN\user
	Host        string `json:"host"`
	Interactive bool   `json:"interactive"` // a session with a desktop: not session 0, where services live
	Elevated    bool   `json:"elevated"`    // the elevated half of an administrator's split token
}
