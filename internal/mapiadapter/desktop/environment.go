package desktop

// withoutOurs leaves out the variables that are meant for the broker and may
// hold its secrets. What starts with "=" is a drive's current folder, not ours.
func withoutOurs(environment []string) []string {
	kept := make([]string, 0, len(environment))
	for _, e := range environment {
		if !ours(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

func ours(variable string) bool {
	for _, prefix := range []string{"BROKER_", "OTEL_"} {
		if _, found := cutPrefixFold(variable, prefix); found {
			return true
		}
	}
	return false
}
