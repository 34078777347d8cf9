package main

// execHelp is the long help of `broker exec`.
const execHelp = `Run a command with a key that is minted for it and revoked when it ends. The
command, and what it starts, finds the broker in its environment:

  BROKER_URL, BROKER_KEY   the broker's address and the key
      curl -H "X-Broker-Key: $BROKER_KEY" "$BROKER_URL/v1/token?resource=graph"
  IDENTITY_ENDPOINT, IDENTITY_HEADER, AZURE_TOKEN_CREDENTIALS   Azure SDKs
      Go          azidentity.NewDefaultAzureCredential(nil)
      Python      DefaultAzureCredential().get_token("https://graph.microsoft.com/.default")
      JavaScript  new DefaultAzureCredential()
      .NET        new DefaultAzureCredential()
      Java        new DefaultAzureCredentialBuilder().build()
      PowerShell  Connect-MgGraph -Identity
  AZD_AUTH_ENDPOINT, AZD_AUTH_KEY   azd
      azd auth token
  SIDECAR_URL              Microsoft 365 Agents SDKs, as their Entra sidecar
      no key is needed: programs under the command are known by their process

A dialect that is switched off in the settings gets no variables. NO_PROXY and
no_proxy are extended by 127.0.0.1, localhost and ::1, so that no program sends the
key through a proxy. Variables of the caller's that would win over these are not
passed on: IDENTITY_SERVER_THUMBPRINT, IMDS_ENDPOINT, MSI_ENDPOINT, MSI_SECRET and
AZD_AUTH_CERT; and AZURE_CLIENT_ID where it names neither an account that the command
may use nor the app registration of one, which is said on standard error.

--consumer gives the key exactly the rights of that consumer; otherwise --account
and --resource name them. Standard input, output, error and signals are the
command's own, and so is the exit code (128 + n where signal n ended it). The broker
must be running. Where a person must sign in first, the command is not started and
the exit code is 3.

The key outlives a restart of the broker. Where this process is killed, the command
goes on, and its key works for two more minutes at most.`
