//go:build !windows

package mapiprobe

import (
	"os/exec"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// startOnLeash refuses: there is no Outlook here.
func startOnLeash(*exec.Cmd) (func(), error) {
	return nil, &desktop.Refusal{Reason: desktop.RefusedPlatform, Detail: "Extended MAPI exists on Windows only."}
}
