// The tokens of a tenant, or of the installation: issue, list, revoke.

import { all, api } from "../api.js";
import { announce, h, swap } from "../dom.js";
import { plural } from "../format.js";
import { KIND_NAMES, session } from "../session.js";
import { chip, confirmed, copyButton, empty, field, fill, form, heading, select, sentence, table, time } from "../ui.js";

export function tokensPage({ tenant, signal }) {
  const place = h("div");
  const issued = h("div", { id: "issued" });
  const search = h("input", { type: "search", id: "token-search", placeholder: "name, id, namespace" });
  const gone = h("input", { type: "checkbox", id: "tokens-gone" });
  const count = h("span.count", { role: "status" });
  const list = h("div");
  let tokens = [];

  const read = () => fill(place, "tokens", async () => {
    tokens = await all((part) => api.tokens({ ...part, query: tenant ? { tenant } : {}, signal }));
  }, () => { draw(); return [h("div.toolbar", field("Search", search), h("div.check", gone, h("label", { for: "tokens-gone" }, "Revoked and expired as well")), count), list]; }, signal);

  function draw() {
    const words = search.value.trim().toLowerCase();
    const shown = tokens.filter((token) => (gone.checked || state(token) === "live")
      && [token.name, token.id, token.namespace, token.tenant, token.type].join("\n").toLowerCase().includes(words)).reverse();
    count.textContent = plural(shown.length, "token");
    swap(list, shown.length === 0 ? empty("No tokens here.")
      : table("Tokens", ["Name", "Kind", "Bound to", "Issued", "Ends", "State", "What to do"], shown.map(row)));
  }
  search.addEventListener("input", draw);
  gone.addEventListener("change", draw);

  function row(token) {
    const bound = [token.tenant, token.namespace, token.environment].filter(Boolean).join("/");
    const of = state(token);
    return h("tr", { data: { key: token.id } },
      h("th", { scope: "row" }, h("span", token.name || "unnamed"), h("code.quiet", token.id)),
      h("td", KIND_NAMES[token.type] ?? token.type),
      h("td", bound ? code(bound) : h("span.quiet", "the installation"),
        (token.allowed_origins ?? []).length > 0 && h("span.quiet.clip", ` ${token.allowed_origins.join(", ")}`)),
      h("td", time(token.created_at)),
      h("td", token.expires_at ? time(token.expires_at) : h("span.quiet", "never")),
      h("td", chip(of, of === "live" ? "good" : "bad")),
      h("td.row-actions", of === "live" && h("button.small", { type: "button", id: `revoke-${token.id}`, "aria-label": `Revoke ${token.name || token.id}`, onclick: () => revoke(token) }, "Revoke")));
  }

  async function revoke(token) {
    const self = token.id === session.self.id;
    const yes = await confirmed({
      title: `Revoke ${token.name ? `“${token.name}”` : token.id}?`,
      body: h("p", `Whatever uses it is refused from this moment on, and its open streams end.${self ? " It is the token that you are logged in with." : ""} This cannot be undone.`),
      action: "Revoke", danger: true,
    });
    if (!yes) return;
    try {
      await api.revokeToken(token.id);
      announce("Revoked.");
      await read();
    } catch (error) {
      if (!signal.aborted) swap(issued, h("p.notice.notice-bad", { role: "alert" }, sentence(error.message)));
    }
  }

  read();
  return { node: h("div.page", heading("Tokens"), issued, issueForm(tenant, issued, read), place) };
}

const code = (text) => h("code", text);

function state({ revoked_at: revoked, expires_at: expires }) {
  if (revoked) return "revoked";
  return expires && Date.parse(expires) <= Date.now() ? "expired" : "live";
}

function issueForm(tenant, issued, done) {
  const kinds = [["namespace_read", KIND_NAMES.namespace_read], ["namespace_write", KIND_NAMES.namespace_write], ["namespace_client", KIND_NAMES.namespace_client], ["tenant_admin", KIND_NAMES.tenant_admin]];
  if (!tenant) kinds.push(["superadmin", KIND_NAMES.superadmin]);
  const kind = select(kinds, "namespace_read", { name: "type" });
  const tenantField = field("Tenant", h("input.mono", { name: "tenant", value: tenant ?? "", readonly: Boolean(tenant), autocomplete: "off", spellcheck: "false" }));
  const namespaceField = field("Namespace", h("input.mono", { name: "namespace", autocomplete: "off", spellcheck: "false" }));
  const environmentField = field("Environment", h("input.mono", { name: "environment", autocomplete: "off", spellcheck: "false" }));
  const originsField = field("Allowed origins", h("textarea.mono", { name: "origins", rows: "2", placeholder: "https://shop.example.com" }), "one a line; browsers elsewhere are refused");
  const fit = () => {
    const of = kind.value;
    tenantField.hidden = of === "superadmin";
    namespaceField.hidden = !of.startsWith("namespace_");
    environmentField.hidden = originsField.hidden = of !== "namespace_client";
    for (const box of [tenantField, namespaceField, environmentField]) box.querySelector("input").required = !box.hidden;
  };
  kind.addEventListener("change", fit);
  fit();
  return h("details.drawer", { data: { key: "issue" } }, h("summary", "Issue a token"),
    form({ id: "issue" }, async (data, node) => {
      const body = { type: data.get("type"), name: data.get("name").trim() };
      if (!tenantField.hidden) body.tenant = data.get("tenant").trim();
      if (!namespaceField.hidden) body.namespace = data.get("namespace").trim();
      if (!environmentField.hidden) {
        body.environment = data.get("environment").trim();
        body.allowed_origins = data.get("origins").split("\n").map((line) => line.trim()).filter(Boolean);
      }
      // A day without a time means until its end, wherever the person is.
      if (data.get("expires")) body.expires_at = new Date(`${data.get("expires")}T23:59:59`).toISOString().replace(/\.\d+Z$/, "Z");
      const { token, secret } = await api.createToken(body);
      node.reset();
      fit();
      node.closest("details").open = false;
      showSecret(issued, token, secret);
      await done();
    },
    h("div.fields", field("Kind", kind), field("Name", h("input", { name: "name", required: true, maxlength: "200" }), "what it is for"),
      tenantField, namespaceField, environmentField, originsField,
      field("Valid until", h("input", { type: "date", name: "expires" }), "for ever if left empty")),
    h("div.actions", h("button.primary", { type: "submit" }, "Issue token"))));
}

/** The only time that a secret is seen. */
function showSecret(place, token, secret) {
  const shown = h("code.secret-shown", { id: "secret", tabindex: "0" }, secret);
  swap(place, h("section.issued", { "aria-labelledby": "issued-title" },
    h("h2", { id: "issued-title", tabindex: "-1" }, `“${token.name}” is issued`),
    h("p", "Copy the secret now. It is not kept anywhere and cannot be shown again."),
    h("p.secret-line", shown, copyButton(() => secret, "Copy secret", () => shown)),
    h("button.small", { type: "button", id: "hide-secret", onclick: () => { swap(place); announce("The secret is hidden."); } }, "I have it; hide it")));
  document.getElementById("issued-title")?.focus();
}
