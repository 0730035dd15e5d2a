// Keys of a service: made, shown once, revoked.

import { api } from "../api.js";
import { announce, h, swap } from "../dom.js";
import { plural } from "../format.js";
import { chip, code, confirmed, copyButton, empty, field, form, select, sentence, table, time } from "../ui.js";

const TYPES = { sk: "secret: everything, and writes", pk: "public: configs and flags" };

/** `changed` is called when a key was made or revoked. */
export function keysPart({ at, may, mayRead, signal, changed, trouble }) {
  const issued = h("div", { id: "key-issued" });
  const type = select(Object.entries(TYPES).filter(([name]) => name === "pk" || mayRead), mayRead ? "sk" : "pk", { name: "type" });
  const drawer = h("details.drawer", { id: "key-drawer", data: { key: "make" } }, h("summary", "Make a key"),
    form({ id: "key-form" }, async (data, node) => {
      const made = await api.createSettingsKey(at, { type: data.get("type"), name: data.get("name").trim(), legacy: data.get("legacy") !== null });
      node.reset();
      drawer.open = false;
      showSecret(issued, made);
      changed();
    },
    h("div.fields", field("Type", type), field("Name", h("input", { name: "name", required: true, maxlength: "200" }), "what it is for"),
      h("div.check", h("input", { type: "checkbox", id: "key-legacy", name: "legacy" }), h("label", { for: "key-legacy" }, "For clients before 0.15"))),
    h("div.actions", h("button.primary", { type: "submit" }, "Make key"))));
  drawer.hidden = true;

  function row(key) {
    const live = !key.revoked_at;
    return h("tr", { data: { key: key.id } },
      h("th", { scope: "row" }, h("span", key.name || "unnamed"), " ", h("code.quiet", key.id)),
      h("td", key.type === "sk" ? "secret" : "public"), h("td", time(key.created_at)),
      h("td", chip(live ? "live" : "revoked", live ? "good" : "bad")),
      h("td.row-actions", may && live && h("button.small", { type: "button", id: `revoke-${key.id}`, "aria-label": `Revoke ${key.name || key.id}`, onclick: () => revoke(key.id, key.name) }, "Revoke")));
  }

  async function revoke(id, name) {
    const yes = await confirmed({
      title: `Revoke ${name ? `“${name}”` : id}?`, action: "Revoke", danger: true,
      body: h("p", "Whatever uses it is refused from this moment on, and its open streams end. This cannot be undone."),
    });
    if (!yes || signal.aborted) return;
    try {
      await api.revokeSettingsKey(at, id);
      swap(trouble);
      announce("Revoked.");
      changed();
    } catch (error) {
      if (!signal.aborted) swap(trouble, h("p.notice.notice-bad", { role: "alert" }, sentence(error.message)));
    }
  }

  return {
    form: h("div.settings-part", issued, drawer),
    refresh(service) { drawer.hidden = !may || service.kind === "umbrella"; },
    table(keys) {
      return h("section.settings-part", { data: { key: "keys" }, "aria-labelledby": "settings-keys" },
        h("h2", { id: "settings-keys" }, "Keys", h("span.count", plural(keys.length, "key"))),
        keys.length === 0 ? empty("No keys yet.") : table("Keys", ["Name", "Type", "Made", "State", "What to do"], [...keys].reverse().map(row)));
    },
  };
}

/** The only time that a key is seen. */
function showSecret(place, { key, secret, slug }) {
  const shown = h("code.secret-shown", { id: "secret", tabindex: "0" }, secret);
  swap(place, h("section.issued", { "aria-labelledby": "issued-title" },
    h("h2", { id: "issued-title", tabindex: "-1" }, `“${key.name}” is made`),
    h("p", "Copy the key now. It is not kept anywhere and cannot be shown again. It is good at the host that begins with ", code(`${slug}.`)),
    h("p.secret-line", shown, copyButton(() => secret, "Copy key", () => shown)),
    h("button.small", { type: "button", id: "hide-secret", onclick: () => { swap(place); announce("The key is hidden."); } }, "I have it; hide it")));
  document.getElementById("issued-title")?.focus();
}
