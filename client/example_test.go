package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/m365-token-broker/broker/client"
)

// standIn is a broker with one answer, for the examples.
func standIn(status int, kind, body string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}))
}

// A request to Microsoft Graph with a current token.
func ExampleClient_Token() {
	broker := standIn(http.StatusOK, "application/json", `{"access_token":"eyJ…","expires_on":4102444800,"resource":"graph","scope":"Mail.Read","account":"ops"}`)
	defer broker.Close()
	ctx := context.Background()

	c, err := client.New(client.Options{URL: broker.URL, Key: "brk_example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	tok, err := c.Token(ctx, client.Request{Resource: "graph"})
	if err != nil {
		fmt.Println(err)
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://graph.microsoft.com/v1.0/me", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	req.Header.Set("Authorization", tok.Authorization())
	fmt.Println(tok)
	// Output: token for graph, valid until 2100-01-01T00:00:00Z
}

// What to do where a person must sign in.
func ExampleSignInRequiredError() {
	broker := standIn(http.StatusConflict, "application/problem+json",
		`{"code":"sign-in-required","detail":"Account ops is not signed in on this machine; run: broker login --account ops","retryable":false,"user_action":"sign-in"}`)
	defer broker.Close()
	c, err := client.New(client.Options{URL: broker.URL, Key: "brk_example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.Token(context.Background(), client.Request{Resource: "graph", Account: "ops"})
	if signIn, ok := errors.AsType[*client.SignInRequiredError](err); ok {
		fmt.Println("run:", signIn.Command())
	}
	// Output: run: broker login --account ops
}
