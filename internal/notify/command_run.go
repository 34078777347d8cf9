package notify

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"time"
)

// drain is how long a killed command's pipe may stay open in other hands.
const drain = 2 * time.Second

// runCommand is the runner of the product. Output goes nowhere.
func runCommand(ctx context.Context, in invocation) (int, error) {
	cmd := exec.CommandContext(ctx, in.argv[0], in.argv[1:]...) //nolint:gosec // the operator's own command
	cmd.Env = in.env
	cmd.Stdin = bytes.NewReader(in.stdin)
	cmd.WaitDelay = drain
	end, err := startTree(ctx, cmd)
	if err != nil {
		return 0, &startError{cause: reasonOf(err)}
	}
	defer end()
	err = cmd.Wait()
	ended, isExit := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return -1, ctx.Err()
	case isExit:
		return ended.ExitCode(), nil
	case errors.Is(err, exec.ErrWaitDelay): // a child of it holds its standard input
		return cmd.ProcessState.ExitCode(), nil
	case err != nil:
		return -1, err
	}
	return 0, nil
}
