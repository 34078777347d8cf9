//go:build !windows

package lifecycle

import (
	"context"
	"runtime"
)

// RunAsService refuses: systemd and its like run `broker serve`, and need no
// reports.
func RunAsService(context.Context, string, *Service) error {
	return &NotAServiceError{System: "Windows, and this is " + runtime.GOOS}
}

// NewServiceManager is nil: this system's manager is not ours to speak to.
func NewServiceManager() ServiceManager { return nil }
