package telemetry

// Cleaner cleans texts that leave this machine in a file as the log is cleaned:
// what looks like a secret is taken out, and of mail addresses the account hash is
// left, which is that of the log where hashKey is the same (Config.HashKey). It is
// safe for concurrent use.
func Cleaner(hashKey []byte) (text func(string) string, accountHash func(string) string) {
	r := &redactor{hasher: newAccountHasher(hashKey)}
	return r.text, r.hasher.hash
}
