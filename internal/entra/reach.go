package entra

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Reach asks the host at base (https://host[:port]) for nothing, by the way that
// requests to the authority take. Any HTTP answer will do; the time is its Date
// (RFC 9110 section 6.6.1), zero where it has none. Nothing secret is sent, and
// nothing that is answered is kept. The error's sentence says what is in the way.
func (c *Client) Reach(ctx context.Context, base string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, c.wire.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, base+"/", nil)
	if err != nil {
		return time.Time{}, fmt.Errorf("reach %s: %w", base, err)
	}
	res, err := c.wire.transport.RoundTrip(req)
	if err != nil {
		failed := fault(stepDiscovery, req.URL.Host, err)
		failed.Op = "reach " + req.URL.Host
		return time.Time{}, failed
	}
	_ = res.Body.Close() // a HEAD has none
	on, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return time.Time{}, nil
	}
	return on, nil
}
