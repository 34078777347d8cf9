// Command icon draws the product's icon, a key.
//
//	go run ./scripts/release/icon packaging/windows/resource/broker.ico
//
// The file is committed, and a test holds it against this drawing. With a name
// that ends in .png, the largest picture alone is written, to look at.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"strings"
)

// sizes are what Explorer, the taskbar and the installer ask for, at the usual
// scalings of a screen.
var sizes = []int{16, 20, 24, 32, 40, 48, 64, 128, 256}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "icon:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("name the file to write")
	}
	var data []byte
	var err error
	if strings.HasSuffix(args[0], ".png") {
		data, err = encodePNG(draw(256))
	} else {
		data, err = encodeICO()
	}
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], data, 0o644)
}

func encodePNG(img *image.NRGBA) ([]byte, error) {
	var b bytes.Buffer
	e := png.Encoder{CompressionLevel: png.BestCompression}
	err := e.Encode(&b, img)
	return b.Bytes(), err
}

// encodeICO puts all sizes in one file: the large ones as PNG, as Windows has them
// since Vista; the others as bitmaps, which everything reads.
func encodeICO() ([]byte, error) {
	var dir, body bytes.Buffer
	put(&dir, uint16(0), uint16(1), uint16(len(sizes))) // reserved, icon, pictures
	for _, size := range sizes {
		picture := bitmap(draw(size))
		if size >= 128 {
			var err error
			if picture, err = encodePNG(draw(size)); err != nil {
				return nil, err
			}
		}
		edge := uint8(size % 256) // 0 stands for 256
		at := 6 + 16*len(sizes) + body.Len()
		put(&dir, edge, edge, uint8(0), uint8(0), uint16(1), uint16(32), uint32(len(picture)), uint32(at))
		body.Write(picture)
	}
	return append(dir.Bytes(), body.Bytes()...), nil
}

// bitmap is a picture as icons hold it: a BITMAPINFOHEADER of twice the height,
// rows from the bottom, blue first, and a mask that alpha has made idle.
func bitmap(img *image.NRGBA) []byte {
	size := img.Rect.Dx()
	var b bytes.Buffer
	put(&b, uint32(40), int32(size), int32(2*size), uint16(1), uint16(32), make([]byte, 24))
	for y := size - 1; y >= 0; y-- {
		for x := range size {
			c := img.NRGBAAt(x, y)
			b.Write([]byte{c.B, c.G, c.R, c.A})
		}
	}
	row := (size + 31) / 32 * 4
	b.Write(make([]byte, row*size))
	return b.Bytes()
}

// put appends numbers in the order of Windows. A buffer takes everything.
func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		_ = binary.Write(b, binary.LittleEndian, v)
	}
}

// samples is how often a pixel is looked at in each direction.
const samples = 8

// draw paints the icon with the edge given.
func draw(size int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			img.SetNRGBA(x, y, pixel(x, y, size))
		}
	}
	return img
}

// pixel averages the samples of one pixel, colours weighted by what they cover.
func pixel(px, py, size int) color.NRGBA {
	var r, g, b, covered float64
	for sy := range samples {
		for sx := range samples {
			x := (float64(px) + (float64(sx)+0.5)/samples) * 256 / float64(size)
			y := (float64(py) + (float64(sy)+0.5)/samples) * 256 / float64(size)
			c, ok := at(x, y)
			if ok {
				r, g, b, covered = r+c.r, g+c.g, b+c.b, covered+1
			}
		}
	}
	if covered == 0 {
		return color.NRGBA{}
	}
	level := func(v float64) uint8 { return uint8(v/covered + 0.5) }
	return color.NRGBA{level(r), level(g), level(b), uint8(covered*255/(samples*samples) + 0.5)}
}
