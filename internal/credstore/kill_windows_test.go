package credstore

import "os/exec"

// killedByTest tells a victim that was killed from one that gave up: Go's Kill
// is TerminateProcess with exit code 1, and a victim that gives up exits with 3.
func killedByTest(exit *exec.ExitError) bool { return exit.ExitCode() == 1 }
