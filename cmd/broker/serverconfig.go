package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/m365-token-broker/broker/internal/broker"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
)

// apiConfig is what the API is made of.
func (p *parts) apiConfig() httpapi.Config {
	listen := p.loaded.Config.Listen
	if p.listener != nil {
		listen = p.listener.Addr().String()
	}
	digests := peer.NewDigests()
	return httpapi.Config{
		Listen:      []string{listen},
		Tokens:      observedTokens{next: p.broker, tel: p.tel},
		Accounts:    p.broker,
		SignIns:     signIns{broker: p.broker, Desk: p.desk},
		Consumers:   p.consumers,
		Outlook:     p.outlook,
		AgentUser:   agentUser,
		Backup:      backups{p: p},
		Audit:       p.audited(),
		Peer:        func(c net.Conn) consumer.Peer { return peer.NewConn(c, digests) },
		Status:      func(ctx context.Context) httpapi.Status { return p.status(ctx, listen) },
		Ready:       p.ready,
		Doctor:      p.examine,
		Proxy:       p.proxy,
		NotifyTest:  p.notifyTest,
		EWSUsage:    p.ewsUsage,
		EWSReset:    p.ews.Reset,
		Dialects:    func() config.Dialects { return p.loaded.Config.Dialects },
		Names:       p.broker.Names(),
		Log:         p.log,
		Metrics:     p.tel.MetricsHandler(),
		GateRefused: p.tel.GateRefusal,
		Wrap:        func(next http.Handler) http.Handler { return p.limit.Handler(p.tel.Handler(next)) },
		SetRoute:    p.tel.SetRoute,
	}
}

// signIns is what the API needs of sign-ins: the broker starts them, the desk
// runs them.
type signIns struct {
	*signin.Desk
	broker *broker.Broker
}

// Start begins a sign-in; see broker.StartSignIn.
func (s signIns) Start(ctx context.Context, account string, flow token.Flow, resource string) (signin.View, bool, error) {
	return s.broker.StartSignIn(ctx, account, flow, resource)
}

// status is what is true now; the API adds accounts and consumers.
func (p *parts) status(ctx context.Context, listen string) httpapi.Status {
	loaded := p.watcher.Current()
	s := httpapi.Status{
		Version: version(), Commit: commit(), Pid: os.Getpid(), StartedAt: p.started, Listen: p.listening(listen),
		ConfigFile: configName(loaded), StateDir: loaded.Places.StateDir, Cloud: string(loaded.Config.Cloud), Warnings: slices.Concat(loaded.Warnings, p.fileWarnings(), p.auditWarnings(), p.endWarnings()),
		SignInsPending: p.desk.Waiting(),
		Ews:            p.ewsUsage().Consumers,
		Store:          httpapi.StoreStatus{Kind: httpapi.StoreStatusKind(p.storeInfo.Kind), Description: p.storeInfo.String(), Usable: true},
	}
	if err := p.storeWorks(ctx); err != nil {
		s.Store.Usable = false
		s.Store.Problem = httpapi.ProblemOf(&token.Error{Kind: token.KindStore, Detail: err.Error()})
	}
	for _, pr := range p.broker.Problems() {
		s.Problems = append(s.Problems, httpapi.LastProblem{
			At: pr.On, Account: pr.Key.Account, Resource: pr.Key.Resource, Problem: httpapi.ProblemOf(pr.Err),
		})
	}
	return s
}

// ready are the checks of /readyz. Settings that are not valid are never in
// force, so a running broker's are.
func (p *parts) ready(ctx context.Context) []httpapi.Check {
	store := httpapi.Check{Name: "store", Ok: true}
	if err := p.storeWorks(ctx); err != nil {
		store.Ok, store.Detail = false, credstore.ReasonOf(err).Remedy() // no path: anybody may ask
	}
	accounts := httpapi.Check{Name: "accounts", Ok: anyAccountOK(p.book.Views())}
	if !accounts.Ok {
		accounts.Detail = "No account is well; `broker accounts` says why, and what to do."
	}
	return []httpapi.Check{{Name: "config", Ok: true}, store, accounts}
}
