// Parts that pages share: plates, badges, states, dialogs.

import { h, announce } from "./dom.js";
import { ago, moment } from "./format.js";
import { Refusal } from "./api.js";

/** A lever: standing when everybody gets one value, pulled when it depends on who asks, locked while in testing. */
export function lever(stance, type = "string") {
  const [arm, grip] = stance === "normal" ? ["M10 27V14", "M10 13V5"] : ["M10 27 14.300 15.300", "M14.700 14.300 17.300 7"];
  return h("svg.lever", { viewBox: "0 0 20 30", "aria-hidden": "true", focusable: "false", class: `lever-${stance} type-${type}` },
    h("path.lever-slot", { d: "M3 27.500h14" }),
    h("path.lever-arm", { d: arm }), h("path.lever-grip", { d: grip }),
    stance === "locked" && h("path.lever-lock", { d: "M5 20h8v6H5zM7 20v-2.500a2 2 0 0 1 4 0V20" }));
}

export const STANCE_WORDS = {
  normal: "one value for everybody",
  reversed: "depends on rules",
  locked: "rules wait for testing",
};

export const chip = (text, kind = "value") => h(`span.chip.chip-${kind}`, text);
export const code = (text) => h("code", text);

export function lifecycle(stage) {
  return h(`span.stage.stage-${stage}`, stage);
}

export function typeWord(type) {
  return h(`span.type.type-${type}`, type);
}

/** A time as people say it, with the exact one in its title; `tick` keeps it true. */
export function time(at) {
  if (!at) return h("span.quiet", "–");
  return h("time", { datetime: at, title: moment(at), data: { ago: at } }, ago(at));
}

setInterval(() => {
  for (const node of document.querySelectorAll("time[data-ago]")) {
    const text = ago(node.dataset.ago);
    if (node.textContent !== text) node.textContent = text;
  }
}, 10_000);

/** Something is being fetched; nothing shows for the first moment, so that fast answers do not flicker. */
export function loading(what) {
  return h("div.state.state-loading", { role: "status" },
    h("div.frame-wait", { "aria-hidden": "true" }, lever("normal"), lever("normal"), lever("normal"), lever("normal"), lever("normal")),
    h("p", `Fetching ${what}…`));
}

export function empty(title, ...more) {
  return h("div.state.state-empty",
    h("div.frame-idle", { "aria-hidden": "true" }, lever("normal"), lever("normal"), lever("normal")),
    h("p.state-title", title), more);
}

/** What went wrong, what to do about it, and the id by which the server's log knows it. */
export function failed(error, again) {
  const refusal = error instanceof Refusal ? error : new Refusal(0, "console", "the console met something that it did not expect");
  const advice = {
    0: "Check that the server runs and that this machine reaches it.",
    403: "The token does not reach this far. Log in with one that does.",
    404: "It does not exist, or this token does not see it.",
    429: "Too many requests with this token. Wait a moment.",
  }[refusal.status];
  return h("div.state.state-failed", { role: "alert" },
    h("p.state-title", sentence(refusal.message)),
    advice && h("p", advice),
    refusal.requestId && h("p.quiet", "Request ", code(refusal.requestId)),
    again && h("button", { type: "button", onclick: again }, "Try again"));
}

export function sentence(text) {
  const trimmed = String(text).trim();
  return trimmed === "" ? "" : trimmed[0].toUpperCase() + trimmed.slice(1) + (/[.!?…]$/.test(trimmed) ? "" : ".");
}

/** Shows what `fetching` brings; an answer that comes after the page was left is dropped. */
export async function fill(target, what, fetching, draw, signal) {
  const show = (node) => { if (!signal?.aborted) target.replaceChildren(...[node].flat(Infinity).filter(Boolean)); };
  show(loading(what));
  try {
    const got = await fetching();
    if (!signal?.aborted) show(draw(got));
  } catch (error) {
    if (signal?.aborted) return;
    show(failed(error, () => fill(target, what, fetching, draw, signal)));
  }
}

let ids = 0;
export const freshId = (prefix = "f") => `${prefix}-${(ids += 1)}`;

/** A labelled control. */
export function field(label, control, help) {
  if (!control.id) control.id = freshId();
  const helpId = help ? freshId("help") : null;
  if (helpId) control.setAttribute("aria-describedby", helpId);
  return h("div.field", h("label", { for: control.id }, label), control, help && h("p.help", { id: helpId }, help));
}

export function select(options, chosen, props = {}) {
  return h("select", props, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
}

/** Copies text. Without the clipboard, which only secure pages have, the text is selected for the person to copy. */
export function copyButton(textOf, label = "Copy", source = () => null) {
  const button = h("button.small", { type: "button" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(textOf());
      button.textContent = "Copied";
      announce("Copied");
    } catch {
      const node = source();
      if (node) getSelection().selectAllChildren(node);
      button.textContent = "Selected: press Ctrl+C";
      announce("The text is selected. Press Control C to copy it.");
    }
    setTimeout(() => { button.textContent = label; }, 2500);
  });
  return button;
}

/** Asks before something happens that others will notice. Gives true if it shall. */
export function confirmed({ title, body, action, danger = false }) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const titleId = freshId("title");
    const dialog = h("dialog", { "aria-labelledby": titleId },
      h("h2", { id: titleId }, title),
      h("div.dialog-body", body),
      h("div.actions",
        h("button", { type: "button", onclick: () => dialog.close("no") }, "Cancel"),
        h(danger ? "button.danger" : "button.primary", { type: "button", onclick: () => dialog.close("yes") }, action)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus?.();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A form that is sent by us and never by the browser. */
export function form(props, send, ...children) {
  const error = h("p.form-error", { role: "alert" });
  const node = h("form", { novalidate: false, autocomplete: "off", ...props }, children, error);
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = node.querySelector("button[type=submit]");
    error.textContent = "";
    if (button) button.disabled = true;
    try {
      await send(new FormData(node), node);
    } catch (problem) {
      error.textContent = problem instanceof Refusal ? sentence(problem.message) : "The console met something that it did not expect.";
      if (!(problem instanceof Refusal)) throw problem;
    } finally {
      if (button) button.disabled = false;
    }
  });
  return node;
}

/** A table with a caption for those who cannot see where it stands; `[text, "num"]` heads a column of numbers. */
export function table(caption, heads, rows, props = {}) {
  return h("div.table-wrap", { tabindex: "0", role: "region", "aria-label": caption },
    h("table", props,
      h("caption.unseen", caption),
      h("thead", h("tr", heads.map((head) => [head].flat()).map(([text, kind]) => h("th", { scope: "col", class: kind }, text)))),
      h("tbody", rows)));
}

export function heading(title, ...actions) {
  return h("header.page-head", h("h1", { tabindex: "-1" }, title), h("div.actions", actions));
}
