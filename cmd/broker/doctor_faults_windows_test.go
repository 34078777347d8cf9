package main

// rightsFaults are none here: internal/ownerfile has tests of its own for the
// access lists.
func rightsFaults() []planted { return nil }
