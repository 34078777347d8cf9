package main

import "strings"

const (
	glyphRows  = 5
	glyphWidth = 5
)

// glyphs are the letters that a user code can have (RFC 8628 section 6.1), five
// rows of five.
var glyphs = map[rune]string{
	'A': ".###. #...# ##### #...# #...#",
	'B': "####. #...# ####. #...# ####.",
	'C': ".#### #.... #.... #.... .####",
	'D': "####. #...# #...# #...# ####.",
	'E': "##### #.... ####. #.... #####",
	'F': "##### #.... ####. #.... #....",
	'G': ".#### #.... #..## #...# .####",
	'H': "#...# #...# ##### #...# #...#",
	'I': ".###. ..#.. ..#.. ..#.. .###.",
	'J': "..### ...#. ...#. #..#. .##..",
	'K': "#...# #..#. ###.. #..#. #...#",
	'L': "#.... #.... #.... #.... #####",
	'M': "#...# ##.## #.#.# #...# #...#",
	'N': "#...# ##..# #.#.# #..## #...#",
	'O': ".###. #...# #...# #...# .###.",
	'P': "####. #...# ####. #.... #....",
	'Q': ".###. #...# #.#.# #..#. .##.#",
	'R': "####. #...# ####. #..#. #...#",
	'S': ".#### #.... .###. ....# ####.",
	'T': "##### ..#.. ..#.. ..#.. ..#..",
	'U': "#...# #...# #...# #...# .###.",
	'V': "#...# #...# #...# .#.#. ..#..",
	'W': "#...# #...# #.#.# ##.## #...#",
	'X': "#...# .#.#. ..#.. .#.#. #...#",
	'Y': "#...# .#.#. ..#.. ..#.. ..#..",
	'Z': "##### ...#. ..#.. .#... #####",
	'0': ".###. #..## #.#.# ##..# .###.",
	'1': "..#.. .##.. ..#.. ..#.. .###.",
	'2': "####. ....# .###. #.... #####",
	'3': "####. ....# .###. ....# ####.",
	'4': "#..#. #..#. ##### ...#. ...#.",
	'5': "##### #.... ####. ....# ####.",
	'6': ".###. #.... ####. #...# .###.",
	'7': "##### ....# ...#. ..#.. ..#..",
	'8': ".###. #...# .###. #...# .###.",
	'9': ".###. #...# .#### ....# .###.",
	'-': "..... ..... .###. ..... .....",
}

// bigCode draws a user code big, two rows of a letter to a line, and spells it
// beneath for copying. Where the screen is too narrow, or cannot show it, there
// is the spaced code instead.
func bigCode(code string, s screen) string {
	code = strings.ToUpper(code)
	const gap, margin = 2, 10
	if !s.blocks || len(code)*(glyphWidth+gap)+margin > s.width {
		return spaced(code)
	}
	var b strings.Builder
	for row := 0; row < glyphRows; row += 2 {
		for _, c := range code {
			glyph, ok := glyphs[c]
			if !ok {
				return spaced(code)
			}
			for x := range glyphWidth {
				b.WriteString(halfBlock(pixel(glyph, x, row), pixel(glyph, x, row+1)))
			}
			b.WriteString(strings.Repeat(" ", gap))
		}
		b.WriteByte('\n')
	}
	return b.String() + "\n" + code
}

// pixel reads a glyph, whose rows are separated by spaces.
func pixel(glyph string, x, y int) bool {
	return y < glyphRows && glyph[y*(glyphWidth+1)+x] == '#'
}

// spaced is the code with air between its letters.
func spaced(code string) string { return strings.Join(strings.Split(code, ""), " ") }
