package ownerfile

import "time"

// Windows refuses to replace or remove a file while another process has it open,
// a reader or a virus scanner; that is over in milliseconds.
const (
	sharingTries = 50
	sharingPause = 10 * time.Millisecond
)

// patiently calls change again as long as its error means that another process
// has the file open, half a second at most.
func patiently(inUse func(error) bool, change func() error) error {
	err := change()
	for range sharingTries {
		if !inUse(err) {
			break
		}
		<-time.After(sharingPause)
		err = change()
	}
	return err
}
