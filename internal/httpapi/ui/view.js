// What the page shows of what is true. It changes nothing and calls nobody.
import { h, since, until, day, span, commands } from "./dom.js";

const section = (key, title, ...rest) => h("section", { "data-key": key, "aria-labelledby": key }, h("h2", { id: key }, title), ...rest);
const badge = (kind, text) => h("span", { class: `badge ${kind}` }, text);
const trouble = (kind, ...text) => h("p", { class: `trouble ${kind}` }, ...text);
const button = (text, does, more) => h("button", { type: "button", "data-do": does, ...more }, text);

// facts is a list of names and values, without those that have no value.
function facts(...pairs) {
  const rows = pairs.filter(([, value]) => value && value.length !== 0);
  return h("dl", { class: "facts" }, rows.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

export function about(s) {
  return [`Version ${s.version}, running for ${span(s.uptime_seconds)}, store: ${s.store.kind}`];
}

export function warnings(s) {
  const all = [...(s.warnings || [])];
  if (!s.store.usable) all.unshift(`The secret store is not usable. ${s.store.problem ? s.store.problem.detail : ""}`);
  if (!all.length) return null;
  return h("section", { "data-key": "warnings", "aria-labelledby": "warnings", class: "warn" }, h("h2", { id: "warnings" }, "Warnings"),
    h("ul", null, all.map((w) => h("li", null, commands(w)))));
}

// Accounts.

const states = {
  ok: ["ok", "OK"],
  degraded: ["warn", "Renewal fails"],
  sign_in_required: ["bad", "Sign-in required"],
};

export function accounts(s, busy, elsewhere) {
  const head = h("div", { class: "head" }, h("h2", { id: "accounts" }, "Accounts"),
    button(s.accounts.length ? "Sign in another account" : "Sign in", "sign-in", { class: s.accounts.length ? "" : "main", disabled: busy }));
  return h("section", { "data-key": "accounts", "aria-labelledby": "accounts" }, head,
    elsewhere > 0 && trouble("warn", elsewhere === 1 ? "A sign-in that was begun elsewhere waits for a person." : `${elsewhere} sign-ins that were begun elsewhere wait for a person.`),
    s.accounts.length
      ? h("ul", { class: "list" }, s.accounts.map((a) => h("li", { "data-key": a.account }, account(a, busy))))
      : h("p", null, "Nobody is signed in. Sign in once; from then on the broker renews tokens by itself."));
}

function account(a, busy) {
  const needed = a.state === "sign_in_required", known = Boolean(a.signed_in_at);
  const [kind, word] = states[a.state] || ["quiet", a.state];
  const who = a.account === a.username ? "" : a.username;
  return [
    h("div", { class: "head" },
      h("div", { class: "row" }, h("h3", null, a.account), badge(kind, word)),
      h("div", { class: "row" },
        button(needed ? "Sign in" : "Sign in again", "sign-in", { class: needed ? "main" : "", "data-account": a.account, "aria-label": `Sign in ${a.account}`, disabled: busy }),
        known && button("Sign out", "sign-out", { "data-account": a.account, "aria-label": `Sign out ${a.account}`, disabled: busy }))),
    problem(a.problem, needed ? "bad" : "warn", a.next_try_at),
    known && !a.persisted && trouble("warn", "The current sign-in is not in the secret store yet; it would be lost if the broker ended now."),
    facts(["User", who],
      ["Signed in", known && [since(a.signed_in_at), a.flow === "browser" ? ", in a browser" : ", with a code"]],
      ["Last refresh", since(a.last_refresh_at)],
      ["Ends", lasts(a)],
      ["Tokens", known && (a.resources || []).map((r, i) => [i ? ", " : "", r.resource, " ", life(r)])]),
  ];
}

// lasts is the end of a sign-in, in words. A sign-in that has ended has none.
function lasts(a) {
  if (!a.predicted_end_at || a.state === "sign_in_required") return null;
  const why = a.predicted_end_reason === "sign_in_frequency"
    ? "): the tenant asks for a new sign-in then"
    : ") if nothing uses it until then; the broker does so once a week while it runs";
  return ["on ", day(a.predicted_end_at), " (", until(a.predicted_end_at), why, ". A new password or an administrator can end it before."];
}

function life(r) {
  const left = (r.expires_on || 0) - Date.now() / 1000;
  if (!r.expires_on) return "none yet";
  return left > 0 ? `for ${span(left)}` : "over";
}

const acts = { "sign-in": "A person must sign in.", "contact-admin": "An administrator of the tenant must act." };

function problem(p, kind, nextTry) {
  if (!p || !p.code) return null;
  const ids = [p.aadsts && `AADSTS${String(p.aadsts).replace(/^AADSTS/, "")}`, p.correlation_id && `correlation ID ${p.correlation_id}`].filter(Boolean);
  return h("div", { class: `trouble ${kind}` },
    h("p", null, commands(p.detail), p.user_action === "contact-admin" && ` ${acts[p.user_action]}`,
      nextTry && [" The broker tries again ", until(nextTry), "."]),
    ids.length > 0 && h("p", null, "For Microsoft's support: ", ids.join(", "), "."));
}

// A sign-in.

export function signIn(x) {
  const s = x.view, title = x.account ? `Sign in: ${x.account}` : "Sign in";
  const box = (...rest) => h("section", { "data-key": "signin", class: "signin", "aria-labelledby": "signin" },
    h("h2", { id: "signin", tabindex: "-1" }, title), ...rest);
  if (!s && x.failed) return box(trouble("bad", commands(x.failed)), h("div", { class: "row" }, button("Try again", "sign-in-again", { class: "main" }), button("Close", "sign-in-close")));
  if (!s) return box(h("p", null, "Asking Microsoft for a sign-in …"));
  if (s.state === "succeeded") return box(trouble("ok", `Signed in: ${s.account}. The broker renews its tokens from now on.`), h("div", { class: "row" }, button("Close", "sign-in-close", { class: "main" })));
  if (s.state !== "pending") {
    return box(s.problem ? problem(s.problem, "bad") : trouble("bad", s.message),
      h("div", { class: "row" }, button("Try again", "sign-in-again", { class: "main" }), button("Close", "sign-in-close")));
  }
  return s.flow === "browser" ? box(...browserSteps(s)) : box(...deviceSteps(s, x));
}

// outside is a link to the web. What is none is shown as it is.
const outside = (uri, text = uri) => /^https?:\/\//.test(uri) ? h("a", { href: uri, target: "_blank", rel: "noopener noreferrer" }, text) : h("code", null, uri);

function deviceSteps(s, x) {
  return [
    h("div", { class: "steps" },
      h("ol", null,
        h("li", null, "Open this page, on this machine or any other device: ", outside(s.verification_uri)),
        h("li", null, "Enter this code there:", h("div", null, h("code", { class: "code" }, s.user_code), button(x.copied ? "Copied" : "Copy", "copy"))),
        h("li", null, "Sign in and confirm. This page shows when it is done.")),
      x.qr && h("img", { class: "qr", src: x.qr, alt: `QR code of ${s.verification_uri}` })),
    s.problem && trouble("warn", commands(s.problem.detail), " The sign-in goes on."),
    waiting(s, button("Use a browser on this machine instead", "sign-in-browser")),
    h("p", { class: "soft" }, "Does Microsoft's page say “You don't have access to this”, or name error 53003? Then your organisation blocks codes; use a browser on this machine."),
  ];
}

function browserSteps(s) {
  return [
    h("p", null, "Open Microsoft's page in a browser on the machine that the broker runs on, and sign in there: ", outside(s.verification_uri, "open the sign-in page")),
    s.problem && trouble("warn", commands(s.problem.detail), " The sign-in goes on."),
    waiting(s, button("Use a code instead", "sign-in-device")),
  ];
}

function waiting(s, other) {
  const left = Math.max(0, Math.floor((s.expires_on || 0) - Date.now() / 1000));
  const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  return h("div", { class: "row" }, h("span", null, "Waiting for you, ", h("span", { class: "left", role: "timer" }, clock), " left."), other, button("Cancel", "sign-in-cancel"));
}

// Consumers.

export function consumers(list) {
  if (!list.length) return section("consumers", "Consumers", h("p", null, "No program may ask for tokens yet. To let one in, run ", h("code", null, "broker consumers add --help"), "."));
  const cell = (label, ...rest) => h("td", { "data-label": label }, ...rest);
  return section("consumers", "Consumers", h("table", null,
    h("thead", null, h("tr", null, ["Name", "May have", "Last used", "Requests", "Refused"].map((t) => h("th", { scope: "col", class: t[0] === "R" ? "number" : null }, t)))),
    h("tbody", null, list.map((c) => h("tr", { "data-key": c.name },
      h("th", { scope: "row" }, c.name, c.note && h("div", { class: "soft" }, c.note), c.lease_ends_at && h("div", { class: "soft" }, "ends ", until(c.lease_ends_at))),
      cell("May have", may(c)),
      cell("Last used", used(c)),
      h("td", { class: "number", "data-label": "Requests" }, c.requests.toLocaleString("en")),
      h("td", { class: "number", "data-label": "Refused" }, c.refusals.toLocaleString("en")))))),
  list.filter((c) => c.last_refusal).map((c) => trouble("warn", `${c.name} was last refused `, since(c.last_refusal_at), ": ", commands(c.last_refusal))));
}

function may(c) {
  const all = [];
  if (c.resources.length) all.push(`${c.resources.join(", ")} of ${c.accounts.join(", ") || "no account"}`);
  if (c.mapi && c.mapi.length) all.push(`Outlook: ${c.mapi.join(", ")}`);
  if (c.metrics) all.push("metrics");
  return all.join("; ") || "nothing";
}

function used(c) {
  if (!c.last_used_at) return "not since the broker's start";
  return [since(c.last_used_at), c.last_resource && `: ${c.last_resource} of ${c.last_account}`, c.last_program && h("div", { class: "soft" }, c.last_program)];
}

// Outlook.

const phases = {
  idle: ["ok", "OK"], precheck: ["quiet", "Renewing"], trigger: ["quiet", "Renewing"], observe: ["quiet", "Renewing"],
  needs_user: ["bad", "Needs a person"], wait_session: ["warn", "Nobody logged on"], wait_agent: ["warn", "No agent"],
  backoff: ["warn", "Tries again"], suspended: ["warn", "Suspended"], unsupported: ["bad", "Cannot work here"], session0_broken: ["bad", "Consumer's logon fails"],
};
const access = { fresh: "fresh", due: "due: the last proof is old", expired: "expired: MAPI was refused", unknown: "not known yet" };

export function outlook(list) {
  if (!list || !list.length) return null;
  return section("outlook", "Outlook targets", h("ul", { class: "list" }, list.map((t) => {
    const [kind, word] = phases[t.phase] || ["quiet", t.phase];
    return h("li", { "data-key": t.target },
      h("div", { class: "row" }, h("h3", null, t.target), badge(kind, word)),
      h("p", null, commands(t.message)),
      t.action && trouble(kind === "ok" || kind === "quiet" ? "warn" : kind, commands(t.action)),
      t.obstacle && t.obstacle.message && trouble("warn", "The next renewal would fail: ", commands(t.obstacle.message), " ", commands(t.obstacle.action)),
      (t.warnings || []).map((w) => trouble("warn", commands(w))),
      facts(["Access", access[t.freshness] || t.freshness], ["Last proof", since(t.last_proof)],
        ["Next look", until(t.next_check)], ["Profile", t.profile], ["Account", t.account]));
  })));
}

// The rest.

export function ews(list) {
  if (!list || !list.length) return null;
  return section("ews", "Exchange Web Services",
    h("ul", { class: "list" }, list.map((c) => h("li", { "data-key": c.consumer },
      h("h3", null, c.consumer),
      h("p", null, `${c.calls.toLocaleString("en")} ${c.calls === 1 ? "call" : "calls"}`, c.last_at && [", the last ", since(c.last_at)], ": ",
        c.operations.map((o) => `${o.operation} ${o.calls.toLocaleString("en")}`).join(", "), ".")))),
    h("p", { class: "soft" }, "EWS in Exchange Online ends. When, and what replaces each call: ", h("code", null, "broker ews report")));
}

export function problems(list) {
  if (!list || !list.length) return null;
  return section("problems", "Last problems", h("ul", { class: "list" }, list.map((p) => h("li", null,
    since(p.at), ", ", [p.account, p.resource].filter(Boolean).join(" "), ": ", commands(p.problem.detail)))));
}

const results = { ok: ["ok", "OK"], warning: ["warn", "Warning"], problem: ["bad", "Problem"], skipped: ["quiet", "Skipped"] };

export function doctor(d) {
  const head = h("div", { class: "head" }, h("h2", { id: "doctor" }, "Doctor"),
    button(d.running ? "Checking …" : "Check now", "doctor", { disabled: d.running }));
  const order = ["problem", "warning", "ok", "skipped"], report = d.report;
  return h("section", { "data-key": "doctor", "aria-labelledby": "doctor" }, head,
    !report && !d.failed && h("p", { class: "soft" }, d.running ? "This takes up to 15 seconds." : "Looks at the store, the network, the clock and more, and says what to do."),
    d.failed && trouble("bad", commands(d.failed)),
    report && h("p", { class: "soft" }, `At ${d.at}: `, report.ok ? "nothing is a problem." : "there is something to do."),
    report && h("ul", { class: "list checks" }, [...report.checks].sort((a, b) => order.indexOf(a.result) - order.indexOf(b.result)).map((c) => {
      const [kind, word] = results[c.result] || ["quiet", c.result];
      return h("li", null, badge(kind, word), h("div", null, commands(c.text), c.remedy && h("p", null, h("strong", null, "To do: "), commands(c.remedy))));
    })));
}

export function more(s) {
  return h("details", { "data-key": "more" }, h("summary", null, "More about this broker"),
    facts(["Address", (s.listen || []).join(", ")], ["Configuration", s.config_file], ["State", s.state_dir], ["Cloud", s.cloud],
      ["Store", s.store.description || s.store.kind], ["Process", s.pid && String(s.pid)], ["Commit", s.commit]));
}
