package main

import (
	"strings"

	"rsc.io/qr"
)

// quiet is the light margin round a QR code, in modules. ISO/IEC 18004 asks for
// four; phones read two, and that fits into more terminals.
const quiet = 2

// qrCode draws text as a QR code, two modules to a character: light modules in
// the terminal's foreground, which is light on most. It is "" where the screen
// is too small or cannot show it.
func qrCode(text string, s screen) string {
	code, err := qr.Encode(text, qr.L)
	if err != nil || !s.blocks {
		return ""
	}
	size := code.Size + 2*quiet
	if s.width < size+16 || s.height < size/2+12 {
		return ""
	}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteString(halfBlock(!code.Black(x, y), !code.Black(x, y+1) && y+1 < code.Size+quiet))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// halfBlock is the character whose upper and lower half are filled like this.
func halfBlock(upper, lower bool) string {
	switch {
	case upper && lower:
		return "█"
	case upper:
		return "▀"
	case lower:
		return "▄"
	default:
		return " "
	}
}
