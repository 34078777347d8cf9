package main

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/png"
	"os"
	"testing"
)

const committed = "../../../packaging/windows/resource/broker.ico"

// entry is one picture in the directory of an icon file.
type entry struct {
	Width, Height, Colours, Reserved uint8
	Planes, Bits                     uint16
	Length, At                       uint32
}

// pictures takes an icon file apart.
func pictures(t *testing.T, file []byte) []*image.NRGBA {
	t.Helper()
	var head struct{ Reserved, Kind, Count uint16 }
	r := bytes.NewReader(file)
	if err := binary.Read(r, binary.LittleEndian, &head); err != nil || head.Reserved != 0 || head.Kind != 1 {
		t.Fatalf("no icon file: %+v, %v", head, err)
	}
	entries := make([]entry, head.Count)
	if err := binary.Read(r, binary.LittleEndian, entries); err != nil {
		t.Fatal(err)
	}
	var all []*image.NRGBA
	for _, e := range entries {
		data := file[e.At : e.At+e.Length]
		size := int(e.Width)
		if size == 0 {
			size = 256
		}
		img := image.NewNRGBA(image.Rect(0, 0, size, size))
		if decoded, err := png.Decode(bytes.NewReader(data)); err == nil {
			for i := range size * size {
				img.Set(i%size, i/size, decoded.At(i%size, i/size))
			}
		} else {
			for i := range size * size {
				b := data[40+4*i:]
				copy(img.Pix[img.PixOffset(i%size, size-1-i/size):], []byte{b[2], b[1], b[0], b[3]})
			}
		}
		all = append(all, img)
	}
	return all
}

// The file that goes into broker.exe is what this program draws. Two levels of
// difference are allowed: processors round differently.
func TestCommittedIcon(t *testing.T) {
	file, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	all := pictures(t, file)
	if len(all) != len(sizes) {
		t.Fatalf("%d pictures, want %d", len(all), len(sizes))
	}
	for i, got := range all {
		want := draw(sizes[i])
		if got.Rect != want.Rect {
			t.Fatalf("picture %d is %v, want %v", i, got.Rect, want.Rect)
		}
		for j := range want.Pix {
			if d := int(got.Pix[j]) - int(want.Pix[j]); d < -2 || d > 2 {
				t.Fatalf("%d x %d differs from the drawing at byte %d; run go run ./scripts/release/icon packaging/windows/resource/broker.ico",
					sizes[i], sizes[i], j)
			}
		}
	}
}

// Corners are clear, the middle of the plate and of the key are not.
func TestDraw(t *testing.T) {
	for _, size := range sizes {
		img := draw(size)
		if a := img.NRGBAAt(0, 0).A; a > 60 {
			t.Errorf("%d: the corner has alpha %d", size, a)
		}
		at := func(x, y int) (r, a uint8) {
			c := img.NRGBAAt(x*size/256, y*size/256)
			return c.R, c.A
		}
		if r, a := at(60, 60); a != 255 || r > 100 {
			t.Errorf("%d: the plate is red %d, alpha %d", size, r, a)
		}
		if r, a := at(200, 94); a != 255 || r < 200 {
			t.Errorf("%d: the key is red %d, alpha %d", size, r, a)
		}
	}
}
