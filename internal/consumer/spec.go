package consumer

import (
	"fmt"
	"slices"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/token"
)

// Spec is one consumer as it is configured.
type Spec struct {
	Name      string
	Keys      []KeyHash    // several while a rotation overlaps; none locks the consumer out
	Accounts  []string     // canonical account names that it may use
	Resources []string     // resources that it may have tokens for
	MAPI      []string     // Outlook targets that it may use
	Rate      config.Rate  // of its requests; zero is no limit
	Metrics   bool         // whether it may read /metrics
	Hours     config.Hours // when it may ask; zero is always
	ClientID  string       // the app registration that its accounts are signed in with; empty: any
	Note      string       // what it is for, for people

	// The process that must be calling; what is empty is not looked at.
	Executable string // absolute path of the program
	SHA256     string // of the program's file, lower-case hex
	User       string // the account as it was written: a name, a SID or a user ID
	UserID     string // that account as the system says it: a SID or a user ID

	Sink       string            // the file that a current token is kept in; empty: none
	SinkFormat config.SinkFormat // of that file
	CreatedOn  time.Time         // zero where it is not known

	// Lease makes a consumer that lives in memory only and ends this long after
	// Add or the last Renew. Only for Add; zero is a consumer that stays.
	Lease time.Duration
	// SameAs gives a consumer with a lease the rights of a configured one, for as
	// long as that one exists: its accounts, resources, targets, rate, metrics,
	// hours and client ID, all of which must then be empty here. What that one is
	// tied to (executable, sha256, user) is not among them: an administrator asked
	// for the lease, to start some other program, which has the key from its maker.
	SameAs string
	// KeySHA256 is the hash of the key that a consumer with a lease has, where its
	// maker made that key too and so can lease it again after a restart of the
	// broker. Empty: Add makes a key.
	KeySHA256 string
	// Process is the ID of a process whose descendants are this consumer also
	// without a key, where a dialect sends none. Only with a lease; zero: none.
	Process int
}

// KeyHash is one key that works.
type KeyHash struct {
	SHA256 string    // hex, of the key's whole text
	EndsOn time.Time // when it stops working; zero: never
}

func (k KeyHash) equal(o KeyHash) bool { return k.SHA256 == o.SHA256 && k.EndsOn.Equal(o.EndsOn) }

const (
	maxName   = 64
	adminName = "admin"
	agentName = "agent"
	pageName  = "ui"
	minLease  = 5 * time.Second
	maxLease  = 24 * time.Hour
)

// validate checks what Replace and Add both demand.
func (s Spec) validate() error {
	if !validName(s.Name) {
		return s.fault("is not a name for a consumer; use at most 64 lower-case letters, digits, dots, hyphens and underscores, a letter or digit first")
	}
	switch s.Name {
	case adminName:
		return s.fault("has the name that the admin key goes by; choose another name")
	case agentName:
		return s.fault("has the name that the key of the Outlook agent goes by; choose another name")
	case pageName:
		return s.fault("has the name that the broker's own page goes by; choose another name")
	}
	for _, k := range s.Keys {
		if _, err := parseHash(k.SHA256); err != nil {
			return s.fault("has a key_sha256 that " + err.Error())
		}
	}
	if _, err := parseHash(s.SHA256); s.SHA256 != "" && err != nil {
		return s.fault("has a sha256 that " + err.Error())
	}
	if s.Executable != "" && !config.IsAbsolute(s.Executable) {
		return s.fault("has an executable that is not an absolute path; write it in full")
	}
	return s.validateSink()
}

// validateSink wants it to be clear which token the file is for.
func (s Spec) validateSink() error {
	switch {
	case s.Sink == "" && s.SinkFormat != "":
		return s.fault("has a sink_format, but no sink; name the file too")
	case s.Sink == "":
		return nil
	case !config.IsAbsolute(s.Sink):
		return s.fault("has a sink that is not an absolute path; write it in full")
	case len(s.Accounts) != 1 || len(s.Resources) != 1:
		return s.fault("has a sink, which holds one token; give it exactly one account and one resource")
	case !slices.Contains([]config.SinkFormat{"", config.SinkRaw, config.SinkJSON, config.SinkHeader}, s.SinkFormat):
		return s.fault("has a sink_format that does not exist; it is raw, json or header")
	default:
		return nil
	}
}

// validateNew checks what only Add demands.
func (s Spec) validateNew() error {
	rights := len(s.Accounts)+len(s.Resources)+len(s.MAPI) > 0 || s.Metrics || !s.Rate.IsZero() || !s.Hours.IsZero() || s.ClientID != ""
	switch {
	case s.Lease != 0 && (s.Lease < minLease || s.Lease > maxLease):
		return invalid("lease_seconds must be between 5 and 86400.")
	case s.Lease == 0 && s.Name == "":
		return invalid("name is missing; give the consumer a name, or a lease_seconds for one that lives in memory only.")
	case s.Lease == 0 && s.SameAs != "":
		return invalid("same_as needs lease_seconds; only a consumer that lives in memory can have the rights of another.")
	case s.SameAs != "" && rights:
		return invalid("same_as excludes accounts, resources, mapi, rate, hours, client_id and metrics; leave them out, or leave same_as out.")
	case s.Lease == 0 && (s.KeySHA256 != "" || s.Process != 0):
		return invalid("key_sha256 and process need lease_seconds; the key of a consumer that stays is made by the broker.")
	case s.Lease != 0 && s.Sink != "":
		return invalid("sink excludes lease_seconds; only a consumer that stays can have a token file.")
	case s.Process < 0:
		return invalid("process is not the ID of a process.")
	}
	if _, err := parseHash(s.KeySHA256); s.KeySHA256 != "" && err != nil {
		return invalid("key_sha256 " + err.Error() + ".")
	}
	return s.validate()
}

func invalid(detail string) error {
	return token.NewError(token.KindInvalidRequest, "check consumer", detail)
}

// fault is an error about this consumer.
func (s Spec) fault(what string) error {
	return token.NewError(token.KindInvalidRequest, "check consumer", fmt.Sprintf("Consumer %q %s.", s.Name, what))
}

func validName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '-' || c == '_'):
		default:
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// leaseLabel is the label of all leases that have rights of their own.
const leaseLabel = "exec"

// label is the name for telemetry. Leases come and go under names of their own,
// and every one would leave a series of each metric behind; so a lease is
// counted under the configured consumer whose rights it has, or with all other
// leases.
func (s Spec) label() string {
	switch {
	case s.Lease == 0:
		return s.Name
	case s.SameAs != "":
		return s.SameAs
	default:
		return leaseLabel
	}
}

// clone shares nothing with s.
func (s Spec) clone() Spec {
	s.Keys = slices.Clone(s.Keys)
	s.Accounts = slices.Clone(s.Accounts)
	s.Resources = slices.Clone(s.Resources)
	s.MAPI = slices.Clone(s.MAPI)
	return s
}

// like fills in the rights of the consumer that s is the same as.
func (s Spec) like(specs map[string]Spec) Spec {
	if p, ok := specs[s.SameAs]; ok {
		s.Accounts, s.Resources, s.MAPI = p.Accounts, p.Resources, p.MAPI
		s.Rate, s.Metrics, s.Hours, s.ClientID = p.Rate, p.Metrics, p.Hours, p.ClientID
	}
	return s
}
