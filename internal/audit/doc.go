// Package audit writes down who got what, and who was refused: one JSON line for
// each event, in a file of the state directory, each line chained to the one
// before by its hash. docs/audit.md has the format and says what it proves.
//
// The way of an event is Log (log.go: count it or queue it, never wait), Run
// (run.go: the one goroutine that writes), writer (writer.go, open.go: the files).
// Verify and Tail read the files by themselves and need no Log.
//
// A token that a consumer gets again, and a refusal that comes again, are counted
// and written once a minute (tally.go), so that neither a busy consumer nor a
// flood of wrong keys fills the disk.
package audit
