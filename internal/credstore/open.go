package credstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// Kind names a store, as the setting "store" does.
type Kind string

// The kinds of store.
const (
	Auto          Kind = "auto" // the platform's
	Wincred       Kind = "wincred"
	SecretService Kind = "secret-service"
	File          Kind = "file"
	Memory        Kind = "memory"
)

// Kinds lists what the setting "store" may be.
func Kinds() []Kind { return []Kind{Auto, Wincred, SecretService, File, Memory} }

// Apart from the records: where the platform's store keeps the keys of file
// stores. The colon-separated names have one part more than those of records.
const (
	keyTargetPrefix = targetPrefix + "file-store:"
	recordAttribute = "m365-token-broker"
	keyAttribute    = "m365-token-broker-file-store"
)

// autoPatience is how long "auto" waits for a Secret Service.
const autoPatience = 2 * time.Second

// Config says which store to open.
type Config struct {
	Kind Kind         // empty is Auto
	Dir  string       // of the file store and of Auto's choice; made where missing; unused by wincred and memory
	Log  *slog.Logger // nil logs nothing

	// KeyInFile keeps the key of a new file store in a file beside it also
	// where the platform store would take it: for a demo or a test, which must
	// leave nothing behind in the user's keyring.
	KeyInFile bool

	// SessionBus is the address of the user's D-Bus session bus, see the function
	// of that name. Where it is empty there is no Secret Service.
	SessionBus string
}

// Description says which store was opened and why, for status and the log.
type Description struct {
	Kind  Kind   `json:"kind"`  // never Auto
	Place string `json:"place"` // where the records are, for people
	Why   string `json:"why"`   // one sentence
}

// String is the description on one line.
func (d Description) String() string {
	return fmt.Sprintf("%s (%s): %s", d.Kind, d.Place, d.Why)
}

// Open opens the store that c asks for. It succeeds also where the platform's
// store does not work right now (a locked keyring, a logon without a credential
// set): its operations then fail with their Reason until it does, see Check.
// The errors of Open itself are those that waiting does not mend: an unknown
// kind, a platform without that store, a directory that others can read.
func Open(ctx context.Context, c Config) (Store, Description, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	const configured = "The configuration says so."
	switch c.Kind {
	case Memory:
		return NewMemory(), Description{Kind: Memory, Place: "this process", Why: configured + " Every sign-in is lost when the broker stops."}, nil
	case Wincred:
		return openPlatformWincred(ctx, c.Log, configured)
	case SecretService:
		return openPlatformSecretService(c, configured)
	case File:
		return openPlatformFile(ctx, c, configured)
	case Auto, "":
		return openAuto(ctx, c)
	}
	return nil, Description{}, &Error{Op: opOpen, Reason: Failed, Err: fmt.Errorf("store: %q is unknown; use one of %v", c.Kind, Kinds())}
}

func openPlatformWincred(ctx context.Context, log *slog.Logger, why string) (Store, Description, error) {
	store, err := openWincred(targetPrefix, log)
	if err != nil {
		return nil, Description{}, err
	}
	if err := store.sweep(ctx); err != nil {
		log.WarnContext(ctx, "the secret store does not work now", slog.String("store", string(Wincred)), slog.Any("cause", err))
	}
	return store, Description{Kind: Wincred, Place: "Windows Credential Manager, " + targetPrefix + "*", Why: why}, nil
}

func openPlatformSecretService(c Config, why string) (Store, Description, error) {
	store, err := newSecretService(c.SessionBus, recordAttribute)
	if err != nil {
		return nil, Description{}, err
	}
	return store, Description{Kind: SecretService, Place: "default keyring of the Secret Service", Why: why}, nil
}

func openPlatformFile(ctx context.Context, c Config, why string) (Store, Description, error) {
	store, err := openFile(ctx, c, platformKeyHome(c))
	if err != nil {
		return nil, Description{}, err
	}
	place := c.Dir
	if kept := store.keyPlace(); kept != "" && kept != string(File) {
		place += ", its key in " + kept
	}
	return store, Description{Kind: File, Place: place, Why: why}, nil
}

// platformKeyHome is where this platform keeps the keys of file stores; nil
// where it has no such place.
func platformKeyHome(c Config) *keyHome {
	if store, err := openWincred(keyTargetPrefix, c.Log); err == nil {
		return &keyHome{kind: Wincred, store: store}
	}
	if store, err := newSecretService(c.SessionBus, keyAttribute); err == nil {
		return &keyHome{kind: SecretService, store: store}
	}
	return nil
}

// openAuto takes Credential Manager on Windows; elsewhere what it took before,
// else the Secret Service if it works within autoPatience, else files.
//
// The choice is remembered, because a keyring that is away at one start (the
// machine came up and nobody signed in to its desktop) must not look like a
// broker without sign-ins, nor split the sign-ins over two stores.
func openAuto(ctx context.Context, c Config) (Store, Description, error) {
	if runtime.GOOS == "windows" {
		return openPlatformWincred(ctx, c.Log, "It is the store of this platform.")
	}
	path := filepath.Join(c.Dir, autoName)
	kind, err := rememberedChoice(path)
	if err != nil {
		return nil, Description{}, fileError(opOpen, err)
	}
	again := "It was chosen at an earlier start; remove " + path + " to choose anew."
	switch kind {
	case SecretService:
		return openPlatformSecretService(c, again)
	case File:
		return openPlatformFile(ctx, c, again)
	default: // nothing was chosen yet, or the file was damaged
	}
	store, d, err := chooseAuto(ctx, c)
	if err != nil {
		return nil, Description{}, err
	}
	if err := rememberChoice(path, d.Kind); err != nil {
		return nil, Description{}, fileError(opOpen, err)
	}
	return store, d, nil
}

// chooseAuto tries the Secret Service and falls back to files.
func chooseAuto(ctx context.Context, c Config) (Store, Description, error) {
	store, d, err := openPlatformSecretService(c, "The Secret Service of this session answers.")
	if err == nil {
		try, cancel := context.WithTimeout(ctx, autoPatience)
		err = Check(try, store)
		cancel()
	}
	if err == nil {
		return store, d, nil
	}
	if ctx.Err() != nil {
		return nil, Description{}, alive(ctx, opOpen)
	}
	reason := ReasonOf(err).String()
	c.Log.InfoContext(ctx, "no Secret Service, so sign-ins are kept in encrypted files", slog.String("reason", reason), slog.Any("cause", err))
	c.KeyInFile = true // a keyring that comes and goes is no place for it
	return openPlatformFile(ctx, c, "The Secret Service of this session cannot be used ("+reason+").")
}

// rememberedChoice is what Auto chose in this directory before, or "".
func rememberedChoice(path string) (Kind, error) {
	if err := ownDirectory(filepath.Dir(path)); err != nil {
		return "", err
	}
	content, err := readOwn(path, 64)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return Kind(strings.TrimSpace(string(content))), err
}

func rememberChoice(path string, kind Kind) error {
	if err := ownDirectory(filepath.Dir(path)); err != nil {
		return err
	}
	return ownerfile.Write(path, []byte(string(kind)+"\n"))
}
