package main

import (
	"fmt"
	"path/filepath"
)

// room is what is left on a disk, in bytes.
type room struct{ free uint64 }

// Less than this is too little for a renewal to be stored for sure, or worth a look.
const (
	roomNeeded = 16 << 20
	roomEnough = 256 << 20
)

// disk looks at what is left where the state directory is, or will be.
func (d *doctor) disk(dir string) {
	if dir == "" {
		d.skip(later(nameStateDir), nameDisk)
		return
	}
	r, err := d.room(dir)
	for err != nil && filepath.Dir(dir) != dir { // it may not exist yet
		dir = filepath.Dir(dir)
		r, err = d.room(dir)
	}
	const remedy = "Free some space there: a renewed sign-in that cannot be stored is lost when the broker ends."
	switch text := fmt.Sprintf("%d MiB are free on the disk of the state directory.", r.free>>20); {
	case err != nil:
		d.skip("The free space on the disk cannot be found out ("+err.Error()+").", nameDisk)
	case r.free < roomNeeded:
		d.found(nameDisk, resultProblem, "The disk of the state directory is full: "+text, remedy)
	case r.free < roomEnough:
		d.found(nameDisk, resultWarning, "The disk of the state directory is nearly full: "+text, remedy)
	default:
		d.found(nameDisk, resultOK, text, "")
	}
}
