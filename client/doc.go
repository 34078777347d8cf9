// Package client gets Microsoft 365 access tokens from the M365 Token Broker of
// the same machine. It needs the standard library only.
//
// A program that broker exec starts finds the broker by itself:
//
//	c, err := client.FromEnvironment()
//	…
//	tok, err := c.Token(ctx, client.Request{Resource: "graph"})
//	…
//	req.Header.Set("Authorization", tok.Authorization())
//
// Ask for a token before each request and keep none: the client holds one in
// memory until it is close to its end, and asks the broker once where many
// goroutines ask at a time. It waits and tries again while the broker is being
// restarted, or asks it to slow down, for as long as Options.MaxWait.
//
// # Errors
//
// Where a person must sign in, the error is a *[SignInRequiredError], which has the
// command to run. Anything else that the broker says is an *[Error] with the members
// of its problem document. Look at Code, never at texts:
//
//	if signIn, ok := errors.AsType[*client.SignInRequiredError](err); ok {
//		log.Printf("%s (%s)", signIn.Problem.Detail, signIn.Command())
//	}
//
// # Claims challenges
//
// A service that answers 401 with claims in WWW-Authenticate (Continuous Access
// Evaluation) wants a token with these claims. Send them in Request.Claims as they
// came, once, and then the request once more with the token that this gives.
//
// # Azure SDK for Go
//
// [Credential] is an azcore.TokenCredential, and this package does not import
// azcore: the caller names its two types.
//
//	cred, err := client.NewCredential[policy.TokenRequestOptions, azcore.AccessToken](c, client.CredentialConfig{Resource: "graph"})
//	…
//	graph, err := msgraphsdk.NewGraphServiceClientWithCredentials(cred, []string{"https://graph.microsoft.com/.default"})
package client
