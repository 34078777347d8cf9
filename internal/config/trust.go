package config

// standing is what the system says about who can change a file.
type standing struct {
	known       bool   // the system could be asked
	foreign     bool   // it belongs to somebody other than us and the administrators
	owner       string // who, where foreign
	openToWrite bool   // everybody on this machine may write it, or replace it in its directory
}

// trust looks at who else could change the file that decides where tokens go.
// That is a warning, except for the machine-wide file of Windows: any user may
// create directories under %ProgramData%, so a file planted there by another
// user must not be obeyed.
func (r *reader) trust(src Source, shared bool) {
	switch s := standingOf(src.Name); {
	case !s.known:
	case s.foreign && shared:
		r.fault(src, "", "belongs to "+s.owner+", who is neither an administrator nor the user the broker runs as, so it is not obeyed; let an administrator take ownership of it, or use --config")
	case s.foreign:
		r.warn(src, "", "belongs to "+s.owner+"; it decides where tokens go, so it should belong to you or to an administrator")
	case s.openToWrite:
		r.warn(src, "", "can be changed by every user of this machine; it decides where tokens go, so take write permission away from others")
	}
}
