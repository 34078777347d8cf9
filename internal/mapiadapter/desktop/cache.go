package desktop

import (
	"context"
	"io/fs"
	"path"
	"strings"
	"time"
)

// How far into the token caches is looked.
const (
	deepestCache   = 8
	cacheEntries   = 20000
	cacheClockSlip = time.Minute // a file may be written while the folders are read
)

// cacheFolders are where Office and Windows keep tokens, below %LOCALAPPDATA%.
// Source: reference, "Where the tokens live".
func cacheFolders() []string {
	return []string{"Microsoft/OneAuth", "Microsoft/IdentityCache", "Microsoft/TokenBroker/Cache"}
}

// newestWrite is the newest time of a file in the folders, by the names and
// times that the folders list: no file is opened. A time in the future is no
// write, and would hide the next one. Zero: none seen.
func newestWrite(ctx context.Context, files fs.FS, folders []string, now time.Time) time.Time {
	var newest time.Time
	left := cacheEntries
	for _, folder := range folders {
		_ = fs.WalkDir(files, folder, func(name string, entry fs.DirEntry, err error) error { // a folder that cannot be read says nothing
			if left--; left < 0 || ctx.Err() != nil {
				return fs.SkipAll
			}
			if err != nil {
				return fs.SkipDir
			}
			if entry.IsDir() {
				if depth(folder, name) > deepestCache {
					return fs.SkipDir
				}
				return nil
			}
			if !entry.Type().IsRegular() {
				return nil
			}
			if info, err := entry.Info(); err == nil && info.ModTime().After(newest) && info.ModTime().Before(now.Add(cacheClockSlip)) {
				newest = info.ModTime()
			}
			return nil
		})
	}
	return newest
}

func depth(folder, name string) int {
	return strings.Count(path.Clean(name), "/") - strings.Count(path.Clean(folder), "/")
}
