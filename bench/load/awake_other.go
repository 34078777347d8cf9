//go:build !linux

package main

import "errors"

func awake() error { return errors.New("cores are kept awake on Linux only") }
