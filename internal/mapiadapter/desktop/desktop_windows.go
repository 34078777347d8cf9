package desktop

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/windows"
)

// mostEnded is how many ended processes are remembered.
const mostEnded = 32

// local is the desktop of the session that this process runs in. mu guards the
// fields below it.
type local struct {
	here    Where
	sid     string // of the account that is looked at
	account string // its name
	user    hive
	machine machine
	caches  string // the folder that the token caches are in
	com     *outlook
	showing chan struct{} // holds a token while a notice is on the screen

	mu      sync.Mutex
	started []started
	ended   []Ended
}

// started is a process that Start started and that has not ended. The handle
// keeps its number from being used again.
type started struct {
	pid    uint32
	handle windows.Handle
}

// New is the desktop of the session that this process runs in. It also has a
// Close method, which lets go of the processes that were started; they go on.
func New(cfg Config) (Desktop, error) {
	here, err := Here()
	if err != nil {
		return nil, err
	}
	m, err := thisMachine()
	if err != nil {
		return nil, fmt.Errorf("find the Windows folder: %w", err)
	}
	d := &local{
		here: here, sid: cfg.SID, account: here.Account, user: hiveOf(cfg.SID, here.SID), machine: m,
		caches: cfg.LocalAppData, com: newOutlook(), showing: make(chan struct{}, 1),
	}
	if cfg.Patience > 0 {
		d.com.budget = cfg.Patience
	}
	if d.sid == "" {
		d.sid = here.SID
	}
	if d.sid != here.SID {
		sid, err := windows.StringToSid(d.sid)
		if err != nil {
			return nil, fmt.Errorf("the SID of the account: %w", err)
		}
		d.account = accountOf(sid)
	}
	if d.caches == "" && d.sid == here.SID {
		d.caches, _ = windows.KnownFolderPath(windows.FOLDERID_LocalAppData, 0) // without it no cache is seen
	}
	return d, nil
}

// Close lets go of the processes that Start started. They go on.
func (d *local) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.started {
		closeHandle(s.handle)
	}
	d.started = nil
	return nil
}

// Look sees what is there now.
func (d *local) Look(ctx context.Context, want Want) (Facts, error) {
	if err := ctx.Err(); err != nil {
		return Facts{}, err
	}
	f := Facts{
		SeenOn: time.Now(), Host: d.here.Host, Account: d.account, SID: d.sid,
		Session:      ownSession(d.here),
		Installation: installation(d.user, d.machine),
		Profiles:     profiles(d.user),
		Ended:        d.reap(),
		Services:     services(want.Services, d.machine),
	}
	running, err := processes(d.sid, d.here.SessionID)
	if err != nil {
		return Facts{}, fmt.Errorf("list the processes of this machine: %w", err)
	}
	f.Processes = running
	if d.caches != "" {
		f.CacheOn = newestWrite(ctx, os.DirFS(d.caches), cacheFolders(), f.SeenOn)
	}
	if d.here.Interactive {
		here := pidsIn(running, d.here.SessionID)
		f.Asking = askingOf(here)
		if len(here) > 0 {
			f.View = d.com.view(ctx)
		}
	}
	return f, ctx.Err()
}

// SendAndReceive asks the Outlook of this session.
func (d *local) SendAndReceive(ctx context.Context, profile string) error {
	running, err := processes(d.sid, d.here.SessionID)
	if err != nil {
		return fmt.Errorf("list the processes of this machine: %w", err)
	}
	if !d.here.Interactive || len(pidsIn(running, d.here.SessionID)) == 0 {
		return &Refusal{Reason: RefusedNotRunning, Detail: "Outlook does not run in this session: start it with the profile first."}
	}
	return d.com.sendAndReceive(ctx, profile)
}

// pidsIn are the numbers of the classic Outlooks in the session.
func pidsIn(running []Process, session uint32) []uint32 {
	var pids []uint32
	for _, p := range running {
		if p.Product == ClassicOutlook && p.SessionID == session {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// reap notes which of the started processes have ended, when and how, and
// returns all that are remembered.
func (d *local) reap() []Ended {
	d.mu.Lock()
	defer d.mu.Unlock()
	running := d.started[:0]
	for _, s := range d.started {
		e := Ended{PID: s.pid}
		if event, err := windows.WaitForSingleObject(s.handle, 0); err != nil || event != windows.WAIT_OBJECT_0 {
			running = append(running, s)
			continue
		}
		var created, exited, kernel, user windows.Filetime
		if windows.GetProcessTimes(s.handle, &created, &exited, &kernel, &user) == nil {
			e.On = fileTime(uint64(exited.HighDateTime)<<32 | uint64(exited.LowDateTime))
		}
		if windows.GetExitCodeProcess(s.handle, &e.ExitCode) == nil {
			d.ended = append(d.ended, e)
		}
		closeHandle(s.handle)
	}
	d.started = running
	if more := len(d.ended) - mostEnded; more > 0 {
		d.ended = d.ended[more:]
	}
	return append([]Ended{}, d.ended...)
}
