// All namespaces that the token sees, by tenant.

import { all, api } from "../api.js";
import { h, swap } from "../dom.js";
import { plural } from "../format.js";
import { namespacePath, refine, to } from "../route.js";
import { session } from "../session.js";
import { empty, field, fill, form, freshId, heading, select, time } from "../ui.js";

export function homePage({ query, signal }) {
  const list = h("div.tenants", { id: "tenants" });
  const count = h("span.count", { role: "status" });
  const search = h("input", { type: "search", id: "namespace-search", value: query.get("q") ?? "", placeholder: "payments" });
  const place = h("div");
  let tenants = [], namespaces = [];

  const draw = () => {
    const words = search.value.trim().toLowerCase();
    refine({ q: words });
    const hit = (text) => text.toLowerCase().includes(words);
    const shown = tenants.map((tenant) => {
      const own = namespaces.filter((one) => one.tenant === tenant.slug);
      const whole = hit(tenant.slug) || hit(tenant.display_name ?? "");
      return [tenant, whole ? own : own.filter((one) => hit(one.slug) || hit(one.display_name ?? "")), whole];
    }).filter(([, own, whole]) => whole || own.length > 0);
    count.textContent = words ? `${plural(shown.reduce((sum, [, own]) => sum + own.length, 0), "namespace")} found` : plural(namespaces.length, "namespace");
    swap(list, shown.length === 0
      ? (words ? empty("Nothing goes by that name.") : firstSteps())
      : shown.map(([tenant, own]) => tenantBlock(tenant, own)));
  };
  search.addEventListener("input", draw);

  const read = () => fill(place, "namespaces", async () => {
    [tenants, namespaces] = await Promise.all([all((part) => api.tenants({ ...part, signal })), all((part) => api.namespaces({ ...part, signal }))]);
    // A token of one namespace may not list tenants, yet its namespace has one.
    for (const { tenant } of namespaces) if (!tenants.some(({ slug }) => slug === tenant)) tenants.push({ slug: tenant, display_name: tenant });
  }, () => { draw(); return list; }, signal);
  read();

  return {
    node: h("div.page",
      heading("Namespaces"),
      h("div.toolbar", field("Search", search), count),
      place,
      session.self.type === "superadmin" && createTenant(read)),
  };
}

export function tenantBlock(tenant, namespaces) {
  return h("section.tenant", { "aria-label": `Tenant ${tenant.slug}` },
    h("h2", h("a", { href: to(["t", tenant.slug]) }, tenant.display_name || tenant.slug),
      tenant.display_name !== tenant.slug && h("code.quiet", tenant.slug)),
    namespaces.length === 0
      ? h("p.quiet", "No namespaces yet. ", session.may("namespace.create", tenant.slug) && h("a", { href: to(["t", tenant.slug]) }, "Create the first"))
      : h("ul.cards", namespaces.map(namespaceCard)));
}

export function namespaceCard({ tenant, slug, display_name: name, description, version, created_at: created }) {
  return h("li.card", { data: { key: `${tenant}/${slug}` } },
    h("a.card-link", { href: to(namespacePath(tenant, slug)) },
      h("span.card-title", name || slug), h("code.quiet", slug)),
    description && h("p.card-text", description),
    h("p.card-foot", version ? h("span.plate.plate-small", `v${version}`) : h("span.quiet", "no manifest yet"),
      h("span.quiet", "created ", time(created))));
}

function firstSteps() {
  if (session.self.type !== "superadmin") return empty("This token sees no namespaces.");
  return empty("An empty frame.", h("p", "Create a tenant below, then a namespace in it, and upload its flags."));
}

function createTenant(done) {
  const mode = select([["email_domain", "Addresses of a domain"], ["sso", "Single sign-on"]], "email_domain", { name: "login_mode" });
  const domain = h("input", { name: "login_value", required: true, placeholder: "example.com", autocomplete: "off" });
  const valueField = field("Domain", domain);
  mode.addEventListener("change", () => {
    valueField.querySelector("label").textContent = mode.value === "sso" ? "Provider" : "Domain";
    domain.placeholder = mode.value === "sso" ? "okta-main" : "example.com";
  });
  return h("details.drawer", { data: { key: "create-tenant" } }, h("summary", "Create a tenant"),
    form({}, async (data, node) => {
      const body = { slug: data.get("slug").trim(), login_mode: data.get("login_mode") };
      if (data.get("display_name").trim()) body.display_name = data.get("display_name").trim();
      body[body.login_mode === "sso" ? "sso_provider" : "email_domain"] = data.get("login_value").trim();
      await api.createTenant(body);
      node.reset();
      node.closest("details").open = false;
      await done();
    },
    h("div.fields",
      field("Slug", slugInput("slug"), "a–z, 0–9 and hyphens; it stays"),
      field("Name", h("input", { name: "display_name", maxlength: "200" }), "for people; the slug if left empty"),
      field("People log in with", mode), valueField),
    h("div.actions", h("button.primary", { type: "submit" }, "Create tenant"))));
}

export function slugInput(name) {
  return h("input.mono", { name, id: freshId("slug"), required: true, maxlength: "63", pattern: "[a-z][a-z0-9\\-]*", autocapitalize: "none", spellcheck: "false", autocomplete: "off" });
}
