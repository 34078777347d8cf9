package processors

import (
	"runtime"
	"testing"
)

// BenchmarkSwitch is what it costs to change the number, there and back.
func BenchmarkSwitch(b *testing.B) {
	defer runtime.SetDefaultGOMAXPROCS()
	for b.Loop() {
		runtime.GOMAXPROCS(1)
		runtime.SetDefaultGOMAXPROCS()
	}
}
