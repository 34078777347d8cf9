package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"rsc.io/qr"

	"github.com/m365-token-broker/broker/internal/token"
)

// signInQR draws the link of a pending sign-in for a phone's camera. A browser
// sign-in has none: its link is good on this machine only.
func (s *Server) signInQR(c echo.Context) error {
	v, err := s.cfg.SignIns.SignIn(c.Param("id"))
	if err != nil {
		return err
	}
	if v.UserCode == "" || v.VerificationURI == "" {
		return token.NewError(token.KindNotFound, "draw QR code", "This sign-in has no link for another device.")
	}
	svg, err := qrSVG(v.VerificationURI)
	if err != nil {
		return &token.Error{Kind: token.KindInternal, Op: "draw QR code", Err: err}
	}
	return c.Blob(http.StatusOK, "image/svg+xml", []byte(svg))
}

// qrQuiet is the light margin, in modules, that ISO/IEC 18004 asks for.
const qrQuiet = 4

// qrSVG draws text as one path, a rectangle for each run of dark modules. It is
// dark on light in a dark page too, as not every camera reads the reverse.
func qrSVG(text string) (string, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", err
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; {
			run := 0
			for x+run < code.Size && code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+qrQuiet, y+qrQuiet, run, run)
			}
			x += max(run, 1)
		}
	}
	size := code.Size + 2*qrQuiet
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges">`+
		`<path fill="#fff" d="M0 0h%dv%dH0z"/><path d="%s"/></svg>`, size, size, size, size, path.String()), nil
}
