// Log-in: a token, pasted, kept in memory.

import { api, Refusal } from "../api.js";
import { h } from "../dom.js";
import { kindOf, session } from "../session.js";
import { field, form, lever } from "../ui.js";

/** The frame behind the card: most levers stand, some are pulled. */
const FRAME = Array.from({ length: 17 }, (_, at) => [at % 5 === 3 || at === 9 ? "reversed" : "normal", at % 7 === 2 || at === 3 ? "boolean" : at % 6 === 5 ? "json" : "string"]);

export function loginPage(mark, reason) {
  // A text field that shows dots: browsers offer to keep what is typed into password fields, and this is not to be kept.
  const token = h("input.secret", {
    id: "token", name: "token", type: "text", required: true, maxlength: "128", autocomplete: "off", autocapitalize: "none",
    autocorrect: "off", spellcheck: "false", "data-1p-ignore": true, "data-lpignore": "true",
  });
  return h("main.login", { id: "main", tabindex: "-1" },
    h("div.login-card",
      h("div.login-brand", mark, h("h1", "Leverframe")),
      h("p.login-lede", "Every flag of a namespace within reach, and what each of them does."),
      reason && h("p.notice", { role: "alert" }, reason),
      form({ id: "login" }, () => login(token),
        field("Token", token, "Starts with exd_. It stays in this tab’s memory and is gone when the page is reloaded."),
        h("div.actions", h("button.primary", { type: "submit" }, "Log in"))),
      h("p.quiet", "The first token comes from ", h("code", "leverframe admin bootstrap"), " on the server.")),
    h("div.login-frame", { "aria-hidden": "true" }, FRAME.map(([stance, type]) => lever(stance, type))));
}

async function login(input) {
  const token = input.value.trim();
  if (kindOf(token) === null) {
    input.focus();
    throw new Refusal(401, "unauthenticated", "this is no token: it does not start with exd_read_, exd_write_, exd_client_, exd_tenant_ or exd_admin_");
  }
  try {
    const self = await api.whoami(token);
    input.value = "";
    session.open(token, self);
  } catch (error) {
    input.select();
    if (error instanceof Refusal && error.status === 401) {
      throw new Refusal(401, error.code, "the server does not accept this token: it may have been revoked, or have expired");
    }
    throw error;
  }
}
