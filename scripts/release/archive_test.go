package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var someday = release{version: "v1.2.3", commit: "0123456789ab", made: time.Date(2026, 11, 22, 10, 20, 30, 0, time.UTC)}

// folder makes one to pack, with its files made in the order given.
func folder(t *testing.T, names ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "product_1.2.3")
	for _, n := range names {
		file := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o600)
		if filepath.Ext(n) == "" {
			mode = 0o700
		}
		if err := os.WriteFile(file, []byte("text of "+n), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func listZip(t *testing.T, data []byte) []string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range z.File {
		got = append(got, fmt.Sprintf("%s %s %s", f.Mode(), f.Modified.UTC().Format(time.DateTime), f.Name))
	}
	return got
}

func listTar(t *testing.T, data []byte) []string {
	t.Helper()
	g, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(g); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s belongs to %d %q, group %d %q", h.Name, h.Uid, h.Uname, h.Gid, h.Gname)
		}
		got = append(got, fmt.Sprintf("%s %s %s", h.FileInfo().Mode(), h.ModTime.UTC().Format(time.DateTime), h.Name))
	}
}

// The same files give the same bytes, whatever the order in which they were
// made, their rights and their times.
func TestArchive(t *testing.T) {
	want := []string{
		"drwxr-xr-x 2026-11-22 10:20:30 product_1.2.3/",
		"-rw-r--r-- 2026-11-22 10:20:30 product_1.2.3/README.md",
		"-rwxr-xr-x 2026-11-22 10:20:30 product_1.2.3/broker",
		"drwxr-xr-x 2026-11-22 10:20:30 product_1.2.3/completions/",
		"-rw-r--r-- 2026-11-22 10:20:30 product_1.2.3/completions/broker.fish",
	}
	for ending, list := range map[string]func(*testing.T, []byte) []string{".zip": listZip, ".tar.gz": listTar} {
		var packed [][]byte
		for _, names := range [][]string{
			{"broker", "README.md", "completions/broker.fish"},
			{"completions/broker.fish", "README.md", "broker"},
		} {
			dir := folder(t, names...)
			out := filepath.Join(t.TempDir(), "out"+ending)
			if err := someday.archive(out, dir); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			packed = append(packed, data)
		}
		if got := list(t, packed[0]); !slices.Equal(got, want) {
			t.Errorf("%s holds\n%q, want\n%q", ending, got, want)
		}
		if !bytes.Equal(packed[0], packed[1]) {
			t.Errorf("two %s of the same files differ", ending)
		}
	}
}

func TestArchiveRefuses(t *testing.T) {
	dir := folder(t, "broker")
	if err := someday.archive(filepath.Join(t.TempDir(), "out.rar"), dir); err == nil {
		t.Error("an ending that nobody knows was taken")
	}
	if err := someday.archive(filepath.Join(t.TempDir(), "out.zip"), filepath.Join(dir, "nothing")); err == nil {
		t.Error("a folder that does not exist was taken")
	}
}

func TestGzipFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "page.1")
	if err := os.WriteFile(name, []byte("a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := gzipFile(name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file that was packed is still there: %v", err)
	}
	f, err := os.Open(name + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	g, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(g)
	if err != nil || string(text) != "a page" || g.Name != "" || !g.ModTime.IsZero() {
		t.Errorf("it holds %q of %q at %v, %v", text, g.Name, g.ModTime, err)
	}
}
