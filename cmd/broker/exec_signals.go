package main

import (
	"os"
	"os/signal"
)

// signals catches what would end this process while it owns a key, and hands it
// to the command once that runs.
type signals struct {
	caught  chan os.Signal
	ended   chan struct{}
	closing func() // what to do at once where this process is about to be ended; set it before passTo
}

func catchSignals() *signals {
	s := &signals{caught: make(chan os.Signal, 16), ended: make(chan struct{})}
	signal.Notify(s.caught, passedSignals()...)
	return s
}

// stop gives the signals back.
func (s *signals) stop() {
	signal.Stop(s.caught)
	close(s.ended)
}

// passTo passes every signal on that the command did not get by itself.
func (s *signals) passTo(p *os.Process) {
	go func() {
		for {
			select {
			case <-s.ended:
				return
			case sig := <-s.caught:
				if endsUs(sig) {
					s.closing()
				}
				if !sharedWithCommand(sig) {
					_ = p.Signal(sig) // it may have ended by now
				}
			}
		}
	}()
}
