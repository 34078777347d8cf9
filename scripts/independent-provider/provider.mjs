// An OpenID provider from outside the project (oidc-provider, certified by the
// OpenID Foundation) that speaks on Microsoft Entra ID's paths. It is strict:
// only the grant type names of the RFCs, used refresh tokens revoke the grant,
// and answers hold what the standards ask for and nothing of Entra's own
// (no client_info, no tid claim).
//
//   node provider.mjs --cert FILE --key FILE --tenant GUID --client GUID [--ttl SECONDS]
//
// Prints one line of JSON when it listens: {"authority": "https://127.0.0.1:PORT"}.

import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { parseArgs } from 'node:util';

import Provider from 'oidc-provider';

const { values: args } = parseArgs({
  options: {
    cert: { type: 'string' },
    key: { type: 'string' },
    tenant: { type: 'string' },
    client: { type: 'string' },
    ttl: { type: 'string', default: '3600' },
  },
});

const server = createServer({ cert: readFileSync(args.cert), key: readFileSync(args.key) });
server.listen(0, '127.0.0.1', () => {
  const authority = `https://127.0.0.1:${server.address().port}`;
  server.on('request', handler(authority));
  console.log(JSON.stringify({ authority }));
});

// The test ends this process by closing its standard input.
process.stdin.resume().on('end', () => process.exit(0));

function handler(authority) {
  const issuer = `${authority}/${args.tenant}/v2.0`;
  const provider = new Provider(issuer, configuration());
  provider.on('server_error', (_ctx, err) => console.error(err));
  const respond = provider.callback();
  const discovery = '/.well-known/openid-configuration';
  return (req, res) => {
    // The library has the discovery document at the root only.
    if (req.url.split('?')[0] === `/${args.tenant}/v2.0${discovery}`) req.url = discovery;
    // It has no page to pick an account; signing in is the nearest. And it gives a refresh token after a consent
    // only (OpenID Connect Core, section 11), where Entra goes by what was consented before.
    req.url = req.url.replace('prompt=select_account', 'prompt=login+consent');
    console.error(`${req.method} ${req.url.split('?')[0]}`);
    return respond(req, res);
  };
}

function configuration() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const oauth2 = `/${args.tenant}/oauth2`;
  return {
    clients: [{
      client_id: args.client,
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      redirect_uris: ['http://localhost'],
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
    }],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'test' }] },
    cookies: { keys: ['only for this run'] },
    routes: {
      authorization: `${oauth2}/v2.0/authorize`,
      code_verification: `${oauth2}/deviceauth`,
      device_authorization: `${oauth2}/v2.0/devicecode`,
      end_session: `${oauth2}/v2.0/logout`,
      jwks: `/${args.tenant}/discovery/v2.0/keys`,
      token: `${oauth2}/v2.0/token`,
    },
    scopes: ['openid', 'profile', 'offline_access'],
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'] },
    conformIdTokenClaims: false, // the ID token itself holds the claims, as Entra's does
    findAccount: (_ctx, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: 'Operations', preferred_username: id }),
    }),
    features: {
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
      userinfo: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx, _client, oneOf) => oneOf ?? audienceOf(ctx.oidc.params.scope),
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => ({
          audience: resource,
          scope: `${resource}/.default`,
          accessTokenFormat: 'jwt',
        }),
      },
    },
    rotateRefreshToken: true,
    ttl: {
      AccessToken: Number(args.ttl),
      AuthorizationCode: 60,
      DeviceCode: 300,
      Grant: 86400,
      IdToken: 3600,
      Interaction: 300,
      RefreshToken: 86400,
      Session: 3600,
    },
  };
}

// audienceOf is Entra's rule: a full scope is its resource, a slash and a name.
function audienceOf(scope = '') {
  const full = scope.split(' ').find((s) => s.includes('://'));
  return full?.slice(0, full.lastIndexOf('/'));
}
