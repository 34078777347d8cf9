package main

import "math"

// The icon on a field of 256 x 256: a plate with round corners, and a key on it.

type colour struct{ r, g, b float64 }

type point struct{ x, y float64 }

// at is the colour of a point, and false outside of the plate.
func at(x, y float64) (colour, bool) {
	p := point{x, y}
	if !roundRect(p, point{128, 128}, 120, 54) {
		return colour{}, false
	}
	if key(p) {
		return colour{255, 255, 255}, true
	}
	return plate(p), true
}

// plate goes from a bright blue at the upper left to a deep one.
func plate(p point) colour {
	from, to := colour{46, 134, 222}, colour{22, 54, 122}
	t := min(max((p.x+p.y-40)/430, 0), 1)
	mix := func(a, b float64) float64 { return a + (b-a)*t }
	return colour{mix(from.r, to.r), mix(from.g, to.g), mix(from.b, to.b)}
}

// key lies from the upper right to the lower left, turned by 45 degrees: along is
// the way from its bow to its tip, across the way to the side of its teeth.
func key(p point) bool {
	bow := point{162, 94}
	dx, dy := p.x-bow.x, p.y-bow.y
	along, across := (dy-dx)/math.Sqrt2, (dx+dy)/math.Sqrt2
	ring := math.Hypot(dx, dy)
	switch {
	case ring <= 54 && ring >= 27:
		return true
	case ring < 27:
		return false
	case capsule(along, across, 50, 150, 13): // the shaft
		return true
	default: // two teeth
		return capsule(across, along-112, 0, 38, 12) || capsule(across, along-147, 0, 30, 12)
	}
}

// capsule is a thick line along the first axis, with round ends.
func capsule(u, v, from, to, radius float64) bool {
	return math.Hypot(u-min(max(u, from), to), v) <= radius
}

// roundRect is a square of twice the half edge round its middle.
func roundRect(p, middle point, half, radius float64) bool {
	dx := max(math.Abs(p.x-middle.x)-(half-radius), 0)
	dy := max(math.Abs(p.y-middle.y)-(half-radius), 0)
	return math.Hypot(dx, dy) <= radius
}
