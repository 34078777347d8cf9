// Package notify tells persons and programs about changes that need them: an
// Outlook that somebody must sign in to, a target that is suspended, and that all
// is well again.
//
// An event goes to the log, and to each sink that is configured: the Windows event
// log, a webhook, a command. Notify never waits. Every sink has a queue and a
// worker of its own, so that one that is slow or away holds up nobody else; in
// each of them the order is kept. What cannot be delivered is dropped after some
// tries, and the log says so: an event is news, and its sender reminds.
//
// The log gets words, numbers and names of targets only. The sentences for people
// may name a Windows account; they go to the sinks, which the operator chose. The
// webhook's address may hold a token and is handled as a secret.
package notify

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Sinks says where events go besides the log.
type Sinks struct {
	// EventLog is the Windows event log; other systems have none.
	EventLog bool
	// Webhook is an https URL, or http on this machine, that may hold a token;
	// empty: none.
	Webhook token.Secret
	// WebhookSecretFile is the absolute path of an owner-only file whose text signs
	// what the webhook gets; empty: nothing is signed. It is read at each delivery,
	// so that the secret can be changed in place.
	WebhookSecretFile string
	// Command is the absolute path of a program, and its arguments; empty: none.
	// There is no shell.
	Command []string
}

// Config is what a Notifier needs.
type Config struct {
	Sinks
	Log     *slog.Logger
	Host    string   // this machine's name, for those who get the events
	Version string   // of the broker, for the user agent
	Environ []string // os.Environ(); the command gets a few of them
	// Roots are trusted by the webhook; nil: the system's.
	Roots *x509.CertPool
	// Proxy is the webhook's way out, which a webhook on this machine does not take;
	// nil: that of the environment.
	Proxy func(*http.Request) (*url.URL, error)
	// Transport carries the webhook in place of Roots and Proxy, where set.
	Transport http.RoundTripper
}

// Notifier delivers events. All its methods are safe for concurrent use.
type Notifier struct {
	cfg   Config // its Sinks are those of the start
	tools tools

	mu     sync.Mutex // guards what follows
	sinks  Sinks
	logged memory

	eventLog, webhook, command *lane
}

// tools are the ways out of the process, for tests to replace.
type tools struct {
	transport http.RoundTripper
	run       runner
	write     func(Event) error // to the Windows event log; nil: this system has none
}

// The names of the sinks, in logs, outcomes and the configuration.
const (
	sinkEventLog = "event_log"
	sinkWebhook  = "webhook"
	sinkCommand  = "command"
)

// New makes a Notifier; Run delivers. The error, of token.KindConfiguration, says
// what is wrong with a sink.
func New(cfg Config) (*Notifier, error) {
	transport := cfg.Transport
	if transport == nil {
		transport = plainTransport(cfg)
	}
	return newNotifier(cfg, tools{transport: transport, run: runCommand, write: eventLogWriter()})
}

func newNotifier(cfg Config, t tools) (*Notifier, error) {
	n := &Notifier{
		cfg: cfg, tools: t,
		eventLog: newLane(sinkEventLog, cfg.Log, time.Second),
		webhook:  newLane(sinkWebhook, cfg.Log, time.Second, 5*time.Second, 30*time.Second, 2*time.Minute, 10*time.Minute),
		command:  newLane(sinkCommand, cfg.Log, time.Second),
	}
	n.eventLog.last = true
	if err := n.Configure(cfg.Sinks); err != nil {
		return nil, err
	}
	return n, nil
}

// Configure puts other sinks in force. What waits for a sink goes to the new one
// of its kind, at once, or is dropped where there is none any more. On an error, of
// token.KindConfiguration, all stays as it was.
func (n *Notifier) Configure(s Sinks) error {
	var hook, command sink
	if !s.Webhook.IsZero() {
		w, err := n.newWebhook(s)
		if err != nil {
			return err
		}
		hook = w
	}
	if len(s.Command) > 0 {
		c, err := n.newCommand(s.Command)
		if err != nil {
			return err
		}
		command = c
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.sinks
	n.sinks = s
	if s.EventLog != was.EventLog {
		n.eventLog.use(n.newEventLog(s.EventLog))
	}
	if !s.Webhook.Equal(was.Webhook) || s.WebhookSecretFile != was.WebhookSecretFile {
		n.webhook.use(hook)
	}
	if !slices.Equal(s.Command, was.Command) {
		n.command.use(command)
	}
	return nil
}

// Notify takes an event for delivery and returns at once. Where a queue is full,
// its oldest and least severe event is dropped.
func (n *Notifier) Notify(e Event) {
	e = e.complete(time.Now())
	n.mu.Lock()
	first := n.logged.add(e.Key)
	n.mu.Unlock()
	if first {
		n.log(e)
	}
	for _, l := range n.lanes() {
		l.put(e)
	}
}

// log writes the event without its sentences, which may name an account.
func (n *Notifier) log(e Event) {
	say := n.cfg.Log.Info
	switch e.Severity {
	case Error:
		say = n.cfg.Log.Error
	case Warning:
		say = n.cfg.Log.Warn
	case Info:
	}
	if e.Repeat == 0 {
		say = n.cfg.Log.Debug // who sends it has logged the change itself
	}
	say("an event for people", slog.Int("event", e.ID), slog.String("subject", e.Subject), slog.String("state", e.State),
		slog.String("reason", e.Reason), slog.Int("repeat", e.Repeat), slog.Int("count", e.Count))
}

// Run delivers until ctx ends, and returns nil then. What is still waiting is lost,
// and the log says how much; the Windows event log gets its part.
func (n *Notifier) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, l := range n.lanes() {
		all.Go(func() { l.run(ctx) })
	}
	all.Wait()
	return nil
}

// Outcome is what became of a test event.
type Outcome struct {
	Sink string `json:"sink"` // event_log, webhook or command
	OK   bool   `json:"ok"`
	Text string `json:"text"` // one sentence for a person; never a secret
}

// Test sends a test event through each sink now, once, whether or not Run runs,
// and waits for all of them. No sink, no outcome.
func (n *Notifier) Test(ctx context.Context) []Outcome {
	e := Event{
		ID: IDTest, Subject: "notify", State: "test",
		Text: "This is a test of the M365 Token Broker's notifications. All is well.",
	}.complete(time.Now())
	lanes := slices.DeleteFunc(n.lanes(), func(l *lane) bool { s, _ := l.current(); return s == nil })
	outcomes := make([]Outcome, len(lanes))
	var all sync.WaitGroup
	for i, l := range lanes {
		all.Go(func() { outcomes[i] = l.test(ctx, e) })
	}
	all.Wait()
	return outcomes
}

// Status is how one sink is doing since the start.
type Status struct {
	Sink      string `json:"sink"`
	Waiting   int    `json:"waiting"`
	Delivered int    `json:"delivered"`
	Failed    int    `json:"failed"`  // given up
	Dropped   int    `json:"dropped"` // the queue was full
	Problem   string `json:"problem"` // one sentence; empty: the last delivery went well
}

// Status lists the sinks that are configured.
func (n *Notifier) Status() []Status {
	var all []Status
	for _, l := range n.lanes() {
		if s, ok := l.status(); ok {
			all = append(all, s)
		}
	}
	return all
}

func (n *Notifier) lanes() []*lane { return []*lane{n.eventLog, n.webhook, n.command} }
