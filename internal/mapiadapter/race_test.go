//go:build race

package mapiadapter

const raceDetector = true
