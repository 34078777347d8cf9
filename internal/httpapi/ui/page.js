// The broker's own page: what it knows, what it asks the broker for, and what a
// person can do. Nothing is kept but the session's second half (csrf), for a reload
// of this tab.
import { commands, fill, h } from "./dom.js";
import * as view from "./view.js";

const every = 10_000; // ms between two looks
const byId = (id) => document.getElementById(id);

const state = {
  csrf: sessionStorage.getItem("csrf") || "",
  over: "",          // why the page is of no use any more
  lost: false,       // the broker does not answer
  seen: null,        // when it last did
  status: null,
  consumers: [],
  signIn: null,      // {account, flow, view, qr, failed, copied}
  doctor: { running: false },
  said: "",
  failed: "",        // what the last thing that a person did came to
  byPerson: true,    // somebody did something since the last request
};

// Failure is an answer of the broker that is none: its problem document.
class Failure extends Error {
  constructor(status, problem) {
    super(problem.detail || `The broker answered with status ${status}.`);
    this.status = status;
  }
}

// call resolves to the text of the answer. What comes after the end, nobody takes.
async function call(method, path, body) {
  const headers = {};
  if (state.csrf) headers["X-Broker-CSRF"] = state.csrf;
  if (state.byPerson) headers["X-Broker-Person"] = "1";
  if (body) headers["Content-Type"] = "application/json";
  state.byPerson = false;
  try {
    const res = await fetch(`/ui/${path}`, { method, headers, body: body && JSON.stringify(body), cache: "no-store", redirect: "error", credentials: "same-origin" });
    if (!res.ok) throw new Failure(res.status, await res.json().catch(() => ({})));
    return await res.text();
  } finally {
    if (state.over) await new Promise(() => {});
  }
}

const json = async (...args) => JSON.parse(await call(...args));

// end leaves nothing of what was true on the page.
function end(why) {
  sessionStorage.clear();
  byId("ask").close();
  for (const id of ["ask-title", "ask-text"]) byId(id).textContent = "";
  Object.assign(state, { over: why, csrf: "", status: null, consumers: [], signIn: null, failed: "", lost: false, doctor: { running: false } });
  draw();
}

// meet decides what becomes of an error; a sentence is left for a person to read.
function meet(err) {
  if (!(err instanceof Failure)) {
    state.lost = true;
    return "The broker does not answer.";
  }
  if (err.status === 401) end(err.message);
  return err.message;
}

// enter takes the ticket of the address, which must not stay there.
async function enter() {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  history.replaceState(null, "", "/ui/");
  if (ticket) {
    try {
      sessionStorage.clear();
      state.csrf = "";
      state.csrf = (await json("POST", "session", { ticket })).csrf;
      sessionStorage.setItem("csrf", state.csrf);
    } catch (err) {
      return end(err instanceof Failure ? err.message : "The broker does not answer; start it, and run `broker ui`.");
    }
  }
  if (!state.csrf) return end("This page is opened by a command. Run `broker ui`.");
  byId("leave").hidden = false;
  const id = sessionStorage.getItem("signin");
  await look();
  if (id) resume(id);
}

async function look() {
  if (state.over) return;
  try {
    const [status, list] = await Promise.all([json("GET", "api/status"), json("GET", "api/consumers")]);
    Object.assign(state, { status, consumers: list.consumers, lost: false, seen: new Date() });
  } catch (err) {
    meet(err);
  }
  draw();
}

// Sign-ins.

async function begin(account, flow) {
  const mine = { account, flow, view: null };
  state.signIn = mine;
  draw();
  byId("signin")?.focus();
  byId("signin")?.scrollIntoView({ block: "nearest" });
  try {
    let v = await json("POST", "api/signins", { flow, ...(account && { account }) });
    if (v.flow !== flow && v.state === "pending") { // another one was pending; this one takes its place
      await call("DELETE", `api/signins/${v.id}`);
      v = await json("POST", "api/signins", { flow, ...(account && { account }) });
    }
    mine.view = v;
    sessionStorage.setItem("signin", v.id);
    follow(mine);
  } catch (err) {
    mine.failed = meet(err);
    draw();
  }
}

async function resume(id) {
  try {
    const v = await json("GET", `api/signins/${id}`);
    if (v.state !== "pending") return;
    const mine = { account: v.account || "", flow: v.flow, view: v };
    state.signIn = mine;
    follow(mine);
  } catch {
    sessionStorage.removeItem("signin"); // it is forgotten, or the next look tells
  }
}

// follow looks at a sign-in until it has ended, or another one is shown.
async function follow(mine) {
  draw();
  drawQR(mine);
  while (state.signIn === mine && !state.over && mine.view.state === "pending") {
    try {
      mine.view = await json("GET", `api/signins/${mine.view.id}?wait=25`);
      state.lost = false;
    } catch (err) {
      const why = meet(err);
      if (err instanceof Failure && err.status !== 401) {
        Object.assign(mine, { view: null, failed: why });
        break;
      }
      await new Promise((done) => setTimeout(done, 2000));
    }
    draw();
  }
  if (state.signIn !== mine) return;
  sessionStorage.removeItem("signin");
  if (mine.view) say(mine.view.state === "succeeded" ? `Signed in: ${mine.view.account}` : mine.view.message);
  look();
}

async function drawQR(mine) {
  if (mine.view.flow !== "device") return;
  try {
    mine.qr = `data:image/svg+xml,${encodeURIComponent(await call("GET", `api/signins/${mine.view.id}/qr`))}`;
    draw();
  } catch {
    // the link is there without it
  }
}

async function cancel() {
  const mine = state.signIn;
  state.signIn = null;
  sessionStorage.removeItem("signin");
  draw();
  if (!mine?.view || mine.view.state !== "pending") return;
  await call("DELETE", `api/signins/${mine.view.id}`).then(() => say("The sign-in was cancelled."), meet);
  look();
}

async function change(flow) {
  const { account } = state.signIn;
  await cancel();
  begin(account, flow);
}

// Signing out is asked for twice.

let asked = "";

function ask(account) {
  asked = account;
  byId("ask-title").textContent = `Sign ${account} out?`;
  byId("ask-text").textContent = "The broker forgets the account on this machine, and programs get no more tokens of it. " +
    "Tokens that they have stay valid until they expire, about an hour. Nothing is revoked at Microsoft.";
  byId("ask").showModal();
}

async function signOut(account) {
  try {
    await call("DELETE", `api/accounts/${encodeURIComponent(account)}`);
    say(`${account} is signed out.`);
  } catch (err) {
    state.failed = `${account} was not signed out. ${meet(err)}`;
  }
  look();
}

async function doctor() {
  state.doctor = { ...state.doctor, running: true, failed: "" };
  draw();
  try {
    const report = await json("GET", "api/doctor");
    state.doctor = { running: false, report, at: new Date().toLocaleTimeString() };
    say(report.ok ? "The checks are done: nothing is a problem." : "The checks are done: there is something to do.");
  } catch (err) {
    state.doctor = { running: false, failed: meet(err) };
  }
  draw();
}

function leave() {
  call("DELETE", "session").catch(() => {});
  end("You have left this page; close it, or run `broker ui` to open it again.");
}

const deeds = {
  "sign-in": (b) => begin(b.dataset.account || "", "device"),
  "sign-in-again": () => begin(state.signIn.account, state.signIn.flow),
  "sign-in-browser": () => change("browser"),
  "sign-in-device": () => change("device"),
  "sign-in-cancel": cancel,
  "sign-in-close": () => { state.signIn = null; draw(); byId("accounts")?.scrollIntoView({ block: "nearest" }); },
  "sign-out": (b) => ask(b.dataset.account),
  "ask-no": () => byId("ask").close(),
  "ask-yes": () => { byId("ask").close(); signOut(asked); },
  copy: async () => {
    await navigator.clipboard.writeText(state.signIn.view.user_code);
    state.signIn.copied = true;
    say("The code is copied.");
    draw();
  },
  doctor,
  leave,
  forget: () => { state.failed = ""; draw(); },
};

document.addEventListener("click", (e) => {
  const b = e.target.closest("[data-do]");
  if (!b || b.disabled) return;
  state.byPerson = true;
  Promise.resolve(deeds[b.dataset.do](b)).catch(() => {});
});
for (const type of ["keydown", "pointerdown", "wheel", "focus"]) addEventListener(type, () => { state.byPerson = true; }, { passive: true });
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

// say tells those who do not see the page.
function say(text) {
  state.said = text;
  draw();
}

function draw() {
  const s = state.status;
  fill(byId("notice"), notice());
  fill(byId("said"), !state.over && state.said);
  fill(byId("about"), s ? view.about(s) : "");
  byId("leave").hidden = Boolean(state.over) || !state.csrf;
  byId("main").className = state.lost ? "old" : "";
  document.title = title();
  if (!s) {
    fill(byId("main"), !state.over && !state.lost && h("p", null, "Asking the broker …"));
    fill(byId("foot"));
    return;
  }
  const ours = Boolean(state.signIn && !state.signIn.failed && (!state.signIn.view || state.signIn.view.state === "pending"));
  const busy = state.lost || ours;
  fill(byId("main"), view.warnings(s), state.signIn && view.signIn(state.signIn), view.accounts(s, busy, state.signIn ? 0 : s.sign_ins_pending), view.consumers(state.consumers),
    view.outlook(s.mapi), view.ews(s.ews), view.problems(s.problems), view.doctor(state.doctor));
  fill(byId("foot"), h("p", null, `As of ${state.seen.toLocaleTimeString()}; the page looks again every 10 seconds while it is visible.`), view.more(s));
}

function notice() {
  const box = (kind, title, text, ...rest) => h("div", { class: `notice ${kind}` }, h("strong", null, title), text, ...rest);
  if (state.over) return box("warn", "This page is closed.", commands(state.over));
  if (state.lost) {
    return box("bad", "The broker does not answer.", state.seen
      ? `It has been stopped, or it is starting. What you see is from ${state.seen.toLocaleTimeString()}. The page tries again by itself.`
      : "It has been stopped, or it is starting. The page tries again by itself.");
  }
  if (state.failed) return box("bad", "That did not work.", commands(state.failed), h("div", { class: "row" }, h("button", { type: "button", "data-do": "forget" }, "Close")));
  return null;
}

function title() {
  const needed = (state.status?.accounts || []).filter((a) => a.state === "sign_in_required").length;
  if (state.lost) return "No answer - M365 Token Broker";
  return needed ? `(${needed}) Sign-in required - M365 Token Broker` : "M365 Token Broker";
}

setInterval(() => { if (!document.hidden) look(); }, every);
setInterval(() => { if (state.signIn?.view?.state === "pending") draw(); }, 1000);
enter();
