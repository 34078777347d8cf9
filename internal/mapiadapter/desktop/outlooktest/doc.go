// Package outlooktest plays Outlook for tests: a copy of the test's own program
// under the name OUTLOOK.EXE, which does what its Knobs say. It runs on Windows
// only, and under Wine.
package outlooktest
