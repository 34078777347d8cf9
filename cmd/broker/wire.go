package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/audit"
	"github.com/m365-token-broker/broker/internal/broker"
	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/entra"
	"github.com/m365-token-broker/broker/internal/ews"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/notify"
	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/processors"
	"github.com/m365-token-broker/broker/internal/proxy"
	"github.com/m365-token-broker/broker/internal/refresh"
	"github.com/m365-token-broker/broker/internal/reminder"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/sink"
	"github.com/m365-token-broker/broker/internal/telemetry"
	"github.com/m365-token-broker/broker/internal/token"
)

// wiring is what a broker is put together with besides its settings.
type wiring struct {
	env       environment
	listen    net.Listener      // nil: it lives inside a command and listens nowhere
	beside    []net.Listener    // the Unix socket and the named pipe, where they are set
	quiet     bool              // log errors only: the command itself says what went wrong
	keyInFile bool              // the file store keeps its key beside it, and nothing in the platform's store
	seat      seat              // what this process is to Outlook
	served    func(*parts)      // told once the broker serves, by who hosts it; nil: a console, with its signals
	limit     *processors.Limit // nil: Go's own

	upstream http.RoundTripper // the way to the authority; nil: the network
}

// parts is a broker put together.
type parts struct {
	loaded    *config.Loaded             // as it was at the start
	resources map[string]config.Resource // in force; only apply, on the watcher's goroutine, changes it
	health    storeHealth
	started   time.Time
	adminKey  token.Secret
	log       *slog.Logger
	audit     *audit.Log
	tel       *telemetry.Telemetry
	store     credstore.Store
	storeInfo credstore.Description
	entra     *entra.Client
	book      *account.Book
	cache     *cache.Cache
	scheduler *refresh.Scheduler
	desk      *signin.Desk
	broker    *broker.Broker
	consumers *consumer.Registry
	files     *sink.Keeper
	ews       *ews.Usage
	proxy     *proxy.Proxy
	notifier  *notify.Notifier
	reminder  *reminder.Reminder
	outlook   *mapiadapter.Adapter
	desktop   desktop.Desktop // nil: an agent of its own touches Outlook, or nobody
	watcher   *config.Watcher
	limit     *processors.Limit // as in wiring
	server    *httpapi.Server
	listener  net.Listener
	beside    []net.Listener // other ways to the same API

	workFactor int // of an export's passphrase
	getenv     func(string) string
	upstream   http.RoundTripper // as in wiring
}

// wire puts a broker together. It is the only place where order matters:
// telemetry first, as every seam is wrapped in it, the API last.
func wire(ctx context.Context, loaded *config.Loaded, w wiring) (*parts, error) {
	p := &parts{loaded: loaded, resources: loaded.Config.Resources, started: time.Now(), listener: w.listen, beside: w.beside, limit: w.limit, workFactor: w.env.workFactor, getenv: w.env.getenv, upstream: w.upstream}
	cfg := loaded.Config
	var err error
	if p.adminKey, err = lifecycle.AdminKey(loaded.Places.StateDir); err != nil {
		return nil, err
	}
	if p.tel, err = telemetry.Setup(ctx, telemetryConfig(cfg, w, p.adminKey)); err != nil {
		return nil, err
	}
	p.log = p.tel.Logger()
	p.wireAudit(cfg)
	p.ews = ews.Open(ctx, loaded.Places.StateDir, p.log)
	store, info, err := credstore.Open(ctx, credstore.Config{
		Kind: credstore.Kind(cfg.Store), Dir: filepath.Join(loaded.Places.StateDir, "secrets"), Log: p.log,
		SessionBus: credstore.SessionBus(w.env.getenv), KeyInFile: w.keyInFile,
	})
	if err != nil {
		return nil, err
	}
	p.store, p.storeInfo = observedStore{next: store, tel: p.tel}, info
	if p.entra, err = newEntra(cfg, w.upstream, p.tel); err != nil {
		return nil, err
	}
	p.book = account.Open(ctx, account.Config{
		Store: p.store, Default: cfg.App(""), Aliases: aliases(cfg), Log: p.log, Hash: p.tel.AccountHash,
	})
	if err := p.book.Unread(); err != nil {
		p.log.ErrorContext(ctx, "the broker begins without the sign-ins that it cannot read, and keeps trying", slog.Any("error", err))
	}
	problems := broker.NewProblems()
	redeemer := &broker.Redeemer{Book: p.book, Redeem: redeem(p.entra, p.tel), Problems: problems}
	p.cache = cache.New(cache.Config{
		Source: observedSource{next: redeemer, tel: p.tel}, Hold: refresh.Hold, Published: func() { p.scheduler.Wake() },
		Guard: func(run func() error) error { return lifecycle.Guard(ctx, p.log, "redemption", run) },
	})
	p.scheduler = refresh.New(refresh.Config{Target: p.cache, Idle: func() []refresh.Idle { return p.broker.Idle() }, Log: p.log})
	p.desk = signin.New(signin.Config{
		Authority: observedAuthority{next: p.entra, tel: p.tel}, Log: p.log, Changed: p.tellSignIn,
		Keep: func(ctx context.Context, account string, g token.Grant) (string, error) {
			defer p.files.Poke() // they may be waiting for this
			return p.broker.Keep(ctx, account, g)
		},
	})
	p.broker = broker.New(broker.Config{
		Book: p.book, Cache: p.cache, SignIns: p.desk, Settings: settings(cfg), Wake: p.scheduler.Wake, Problems: problems,
	})
	redeemer.Scopes = p.broker.Scopes
	if err := p.wireProxy(w.upstream); err != nil {
		return nil, err
	}
	p.watcher = config.NewWatcher(config.WatchConfig{Loaded: loaded, Logger: p.log, Apply: p.apply})
	if err := p.wireOutlook(ctx, w); err != nil {
		return nil, err
	}
	p.reminder = reminder.New(ctx, reminder.Config{Accounts: p.needs, Notify: p.notifier.Notify, Dir: loaded.Places.StateDir, Host: machine(w.seat), Log: p.log})
	p.consumers, err = consumer.New(consumer.Config{AdminKey: p.adminKey, AgentKey: p.agentKey(ctx, w), Saver: dropIns{watcher: p.watcher, turn: make(chan struct{}, 1)}, Resolve: p.resolveConsumer, Root: peer.RootOf})
	if err != nil {
		return nil, err
	}
	if err := p.consumers.Replace(p.specs(cfg)); err != nil {
		return nil, err
	}
	p.wireTokenFiles(cfg)
	if _, err := p.tel.Observe(p.samples); err != nil {
		return nil, fmt.Errorf("feed the gauges: %w", err)
	}
	if _, err := p.tel.ObserveMAPI(words(mapiadapter.Phases()), words(mapiadapter.FreshnessValues()), p.mapiSamples); err != nil {
		return nil, fmt.Errorf("feed the gauges of Outlook targets: %w", err)
	}
	if p.server, err = httpapi.New(p.apiConfig()); err != nil {
		return nil, err
	}
	return p, nil
}

// telemetryConfig is the log and the exporters that the settings ask for.
func telemetryConfig(cfg config.Config, w wiring, adminKey token.Secret) telemetry.Config {
	t := telemetry.Config{
		ServiceVersion: version(), Getenv: w.env.getenv, LogWriter: w.env.stderr,
		LogLevel: string(cfg.Telemetry.LogLevel), LogFormat: string(cfg.Telemetry.LogFormat), HashKey: []byte(adminKey.Reveal()),
	}
	if w.quiet && t.LogLevel != "debug" {
		t.LogLevel = "error"
	}
	return t
}

// newEntra is the way to the authority that the settings allow.
func newEntra(cfg config.Config, upstream http.RoundTripper, tel *telemetry.Telemetry) (*entra.Client, error) {
	ec, err := wayOut(cfg)
	if err != nil {
		return nil, err
	}
	ec.Hosts, ec.Log = authorityHosts(cfg), tel.Logger()
	ec.Transport = func(network http.RoundTripper) http.RoundTripper {
		if upstream != nil {
			network = upstream
		}
		return tel.Transport(network)
	}
	return entra.New(ec), nil
}

// wayOut is how the settings let us out of this machine: roots and proxy.
func wayOut(cfg config.Config) (ec entra.Config, err error) {
	if ec.Roots, err = roots(cfg.CAFile); err != nil {
		return ec, err
	}
	if proxy := cfg.ProxyURL.Reveal(); proxy != "" {
		ec.Proxy, err = entra.Proxy(proxy)
	}
	return ec, err
}

// roots are the platform's root certificates and those of the file; nil where no
// file is named.
func roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	return entra.Roots(pem)
}

// tasks is what runs while the broker runs.
func (p *parts) tasks() []lifecycle.Task {
	tasks := []lifecycle.Task{
		{Name: "audit log", Run: p.audit.Run},
		{Name: "store writer", Run: p.book.Run},
		{Name: "refresh schedule", Run: p.scheduler.Run},
		{Name: "sign-ins", Run: p.desk.Run},
		{Name: "configuration watch", Run: p.watcher.Run},
		{Name: "clock watch", Run: func(ctx context.Context) error { lifecycle.WatchClock(ctx, clockTick, p.clockMoved); return nil }},
	}
	if p.listener == nil {
		return tasks
	}
	if p.desktop != nil {
		tasks = append(tasks, p.agentTask())
	}
	return append(append(append(tasks, p.apiTasks()...), p.noticeTasks()...),
		lifecycle.Task{Name: "token files", Run: p.files.Run},
		lifecycle.Task{Name: "EWS counts", Run: p.ews.Run},
		lifecycle.Task{Name: "Outlook targets", Run: p.outlook.Run},
		lifecycle.Task{Name: "warm-up", Run: p.warm})
}

// clockTick is how often a sleep or a jump of the clock is looked for.
const clockTick = 15 * time.Second

// The end is bounded, so that all of it fits into ten seconds, with the six that
// the API takes at most. What is written last has what the parts before it left: a
// disk that is slow for a moment is waited for where nothing else was.
const (
	landTime  = time.Second             // for the redemptions in flight after the API has ended
	flushTime = time.Second             // for the last saves
	auditTime = 2500 * time.Millisecond // until the audit log is written, from the beginning of the end
	tellTime  = 3500 * time.Millisecond // until telemetry is sent, from there too
	leastTime = 500 * time.Millisecond  // for each of these two, whatever was before
)

// close ends a broker whose tasks have ended: what is in flight lands, so that
// no rotated refresh token is lost, and is stored.
func (p *parts) close(ctx context.Context) error {
	began := time.Now()
	until := func(end time.Duration) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, max(leastTime, end-time.Since(began)))
	}
	landing, cancel := context.WithTimeout(ctx, landTime)
	defer cancel()
	if p.cache.Close(landing) != nil {
		p.log.WarnContext(ctx, "the broker ends while a renewal is on its way; the authority did not answer in time")
	}
	flushing, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	err := errors.Join(p.book.Flush(flushing), p.purge(flushing))
	if p.listener != nil {
		err = errors.Join(err, p.ews.Save()) // what was counted after its task had ended
	}
	err = errors.Join(err, p.outlook.Close())
	p.entra.Close()
	if c, ok := p.store.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	writing, cancel := until(auditTime)
	defer cancel()
	err = errors.Join(err, p.closeAudit(writing))
	telling, cancel := until(tellTime)
	defer cancel()
	return errors.Join(err, p.tel.Shutdown(telling))
}
