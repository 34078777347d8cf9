// Package mapiadapter keeps the mailboxes of Extended MAPI consumers open.
//
// No OAuth permission exists for Extended MAPI, so there is no token to hand
// out: such a consumer lives on what Outlook keeps for its account, until that
// expires. This package sees that coming, gets Outlook to renew in the account's
// own session, proves that it did, and says in one sentence what a person must
// do when no program can. It never sees, decrypts or hands out a token of Outlook.
//
// The machine (Next) is a pure function of a target's State, one Input and the
// time; every transition it makes is a line of the Ledger. Adapter runs one
// machine per target. What is seen and done in the session is desktop's; agent
// carries it there.
package mapiadapter
