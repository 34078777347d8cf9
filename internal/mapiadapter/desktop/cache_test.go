package desktop

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// unopened is a file system whose files must not be opened.
type unopened struct {
	fstest.MapFS
	t *testing.T
}

func (u unopened) Open(name string) (fs.File, error) {
	if f, ok := u.MapFS[name]; ok && !f.Mode.IsDir() {
		u.t.Errorf("%s was opened", name)
	}
	return u.MapFS.Open(name)
}

func TestNewestWrite(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *fstest.MapFile { return &fstest.MapFile{ModTime: now.Add(-d)} }
	deep := "Microsoft/OneAuth" + strings.Repeat("/d", deepestCache+1) + "/file"
	for _, test := range []struct {
		name  string
		files fstest.MapFS
		want  time.Duration // before now; negative: none
	}{
		{"nothing", fstest.MapFS{}, -1},
		{"one", fstest.MapFS{"Microsoft/OneAuth/accounts/x": ago(time.Hour)}, time.Hour},
		{"the newest of all folders", fstest.MapFS{
			"Microsoft/OneAuth/accounts/x": ago(time.Hour), "Microsoft/IdentityCache/1/UD/u_1/e_1/AT/x.bin": ago(time.Minute),
			"Microsoft/TokenBroker/Cache/x.tbres": ago(time.Second),
		}, time.Second},
		{"elsewhere", fstest.MapFS{"Microsoft/Outlook/mail.ost": ago(0), "Microsoft/TokenBroker/other": ago(0)}, -1},
		{"in the future", fstest.MapFS{"Microsoft/OneAuth/a": ago(-time.Hour), "Microsoft/OneAuth/b": ago(time.Hour)}, time.Hour},
		{"folders are no writes", fstest.MapFS{"Microsoft/OneAuth/d": &fstest.MapFile{Mode: fs.ModeDir, ModTime: now}}, -1},
		{"links are not followed", fstest.MapFS{"Microsoft/OneAuth/l": &fstest.MapFile{Mode: fs.ModeSymlink, ModTime: now}}, -1},
		{"too deep", fstest.MapFS{deep: ago(0), "Microsoft/OneAuth/b": ago(time.Hour)}, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := newestWrite(t.Context(), unopened{test.files, t}, cacheFolders(), now)
			if test.want < 0 && !got.IsZero() || test.want >= 0 && !got.Equal(now.Add(-test.want)) {
				t.Errorf("newestWrite = %v", got)
			}
		})
	}
}

func TestNewestWriteIsBounded(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	files := fstest.MapFS{}
	for i := range cacheEntries + 10 {
		files[fmt.Sprintf("Microsoft/OneAuth/%06d", i)] = &fstest.MapFile{ModTime: now.Add(-24*time.Hour + time.Duration(i)*time.Millisecond)}
	}
	got := newestWrite(t.Context(), files, cacheFolders(), now)
	if last := files[fmt.Sprintf("Microsoft/OneAuth/%06d", cacheEntries+9)].ModTime; got.IsZero() || !got.Before(last) {
		t.Errorf("newestWrite = %v: it went on past its bound", got)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := newestWrite(ended, files, cacheFolders(), now); !got.IsZero() {
		t.Errorf("newestWrite = %v after its ctx ended", got)
	}
}
