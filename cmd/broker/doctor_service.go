package main

import (
	"strings"

	"github.com/m365-token-broker/broker/internal/lifecycle"
)

// service looks at the service of Windows, where this is Windows.
func (d *doctor) service() {
	s := &services{o: d.o, tools: d.tools, name: serviceName}
	if s.tools.manager == nil {
		d.skip("Only Windows has the service.", nameService)
		return
	}
	v, err := s.view()
	d.installed = err == nil && v.Installed
	d.checks = append(d.checks, serviceCheck(v, err))
}

// serviceCheck says whether a service that is installed does its work.
func serviceCheck(v serviceView, err error) check {
	c := check{Name: nameService, Result: resultOK}
	switch {
	case err != nil:
		c.Result, c.Text, c.Remedy = resultWarning, "The service manager does not say how the service is: "+strings.TrimRight(sentence(err), ".")+".", "Look again at an elevated prompt."
	case !v.Installed:
		c.Result, c.Text = resultSkipped, "The service is not installed; the broker runs in a person's session."
	case v.State == lifecycle.ServiceRunning:
		c.Text = "The service runs as " + v.Account + "."
	case v.State == lifecycle.ServiceStopped && v.End != nil:
		c.Result, c.Text, c.Remedy = resultProblem, "The service is installed and does not run: "+v.End.Text+".", v.End.Remedy
		if c.Remedy == "" {
			c.Remedy = "Start it with: broker service start"
		}
	default:
		c.Result, c.Text, c.Remedy = resultWarning, "The service is neither running nor stopped ("+string(v.State)+").", "Look again in a minute; its log is "+v.Log
	}
	return c
}
