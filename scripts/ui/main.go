// Command ui walks through the broker's own page in a headless Chromium: a built
// broker, a sandbox, the page, a person, and another website in the same browser.
//
//	scripts/ui/run [DIR]      writes pictures of the page into DIR
package main

import (
	"fmt"
	"os"
	"time"
)

// patience bounds every wait.
const patience = 20 * time.Second

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: scripts/ui/run [DIR]")
		os.Exit(2)
	}
	pictures := ""
	if len(os.Args) > 3 {
		pictures = os.Args[3]
	}
	if err := walk(os.Args[1], os.Args[2], pictures); err != nil {
		fmt.Fprintln(os.Stderr, "ui:", err)
		os.Exit(1)
	}
	fmt.Println("ok")
}
