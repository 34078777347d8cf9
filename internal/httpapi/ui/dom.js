// What the page is drawn with. All text becomes a text node, never HTML.

// h makes an element. Attributes that are null, undefined or false are left out, and
// so are such children.
export function h(name, attributes, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) e.setAttribute(key, value === true ? "" : value);
  }
  add(e, children);
  return e;
}

function add(e, children) {
  for (const c of children) {
    if (Array.isArray(c)) add(e, c);
    else if (c instanceof Node) e.append(c);
    else if (c !== null && c !== undefined && c !== false && c !== "") e.append(String(c));
  }
}

// fill makes the element hold these children. What is there already stays the same
// node, so that nothing flickers, and focus, selection and open details stay.
export function fill(e, ...children) {
  const next = document.createDocumentFragment();
  add(next, children);
  become(e, next);
}

function become(e, next) {
  const now = [...e.childNodes], wanted = [...next.childNodes];
  wanted.forEach((w, i) => {
    const n = now[i];
    if (!n) e.append(w);
    else if (!alike(n, w)) n.replaceWith(w);
    else if (n.nodeType === Node.TEXT_NODE) { if (n.data !== w.data) n.data = w.data; }
    else { dress(n, w); become(n, w); }
  });
  now.slice(wanted.length).forEach((n) => n.remove());
}

function alike(a, b) {
  return a.nodeName === b.nodeName && (a.nodeType !== Node.ELEMENT_NODE || a.getAttribute("data-key") === b.getAttribute("data-key"));
}

function dress(e, like) {
  for (const { name } of [...e.attributes]) {
    if (!like.hasAttribute(name) && name !== "open") e.removeAttribute(name);
  }
  for (const { name, value } of like.attributes) {
    if (e.getAttribute(name) !== value) e.setAttribute(name, value);
  }
}

// The words for times are those of the commands.

export function span(seconds) {
  const s = Math.floor(Math.abs(seconds)), min = Math.floor(s / 60), hours = Math.floor(min / 60), days = Math.floor(hours / 24);
  const two = (a, unitA, b, unitB) => (b ? `${a} ${unitA} ${b} ${unitB}` : `${a} ${unitA}`);
  if (s < 60) return `${s} s`;
  if (min < 60) return `${min} min`;
  if (hours < 24) return two(hours, "h", min % 60, "min");
  if (days < 7) return two(days, "d", hours % 24, "h");
  return `${days} d`;
}

const seconds = (at) => (Date.now() - new Date(at)) / 1000;

// when is a moment as an element whose title has it in full.
function when(at, text) {
  return h("time", { datetime: at, title: new Date(at).toLocaleString() }, text);
}

export const since = (at) => at && when(at, `${span(seconds(at))} ago`);
export const until = (at) => at && when(at, seconds(at) > 0 ? "now" : `in ${span(seconds(at))}`);
export const day = (at) => at && when(at, new Date(at).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" }));

// commands shows the commands in a text as code: what stands between backticks, and
// what ends a sentence behind "run: ".
export function commands(text) {
  return String(text || "").replace(/run: (broker [^.;`]+)(?=\.?$)/, "run `$1`").split("`").map((part, i) => (i % 2 ? h("code", null, part) : part));
}
