package main

import (
	"archive/tar"
	"archive/zip"
	"compress/flate"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// member is one file or folder of an archive.
type member struct {
	name string // in the archive, with slashes
	file string // on disk
	dir  bool
	mode fs.FileMode // 0755 or 0644: the machine's umask leaves no trace
	size int64
}

// members lists a folder in the order of names, the folder itself first.
func members(folder string) ([]member, error) {
	var all []member
	base := filepath.Base(folder)
	err := filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.IsDir() && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a folder", file)
		}
		below, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		m := member{name: path.Join(base, filepath.ToSlash(below)), file: file, dir: info.IsDir(), mode: 0o644, size: info.Size()}
		if info.IsDir() || info.Mode()&0o111 != 0 {
			m.mode = 0o755
		}
		all = append(all, m)
		return nil
	})
	return all, err
}

// archive packs a folder. The same files give the same bytes.
func (r release) archive(name, folder string) error {
	all, err := members(folder)
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	switch {
	case strings.HasSuffix(name, ".zip"):
		err = r.zip(f, all)
	case strings.HasSuffix(name, ".tar.gz"):
		err = r.tarball(f, all)
	default:
		err = fmt.Errorf("%s is neither .zip nor .tar.gz", name)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

func (r release) zip(out io.Writer, all []member) error {
	z := zip.NewWriter(out)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	for _, m := range all {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate, Modified: r.made}
		h.SetMode(m.mode)
		if m.dir {
			h.Name += "/"
			h.Method = zip.Store
			h.SetMode(m.mode | fs.ModeDir)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if err := m.copyTo(w); err != nil {
			return err
		}
	}
	return z.Close()
}

func (r release) tarball(out io.Writer, all []member) error {
	g, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(g)
	for _, m := range all {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: m.size, Mode: int64(m.mode), ModTime: r.made, Format: tar.FormatUSTAR}
		if m.dir {
			h.Typeflag, h.Name, h.Size = tar.TypeDir, m.name+"/", 0
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if err := m.copyTo(t); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return g.Close()
}

func (m member) copyTo(w io.Writer) error {
	if m.dir {
		return nil
	}
	f, err := os.Open(m.file)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	_ = f.Close() // it was only read
	return err
}

// gzipFile packs one file as gzip -n does: without its name and time.
func gzipFile(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	f, err := os.Create(name + ".gz")
	if err != nil {
		return err
	}
	g, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err == nil {
		_, err = g.Write(data)
	}
	if err == nil {
		err = g.Close()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return os.Remove(name)
}
