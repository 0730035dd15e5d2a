// One tenant: its namespaces, and a new one.

import { all, api } from "../api.js";
import { h } from "../dom.js";
import { plural } from "../format.js";
import { namespacePath } from "../route.js";
import { session } from "../session.js";
import { empty, field, fill, form, heading } from "../ui.js";
import { namespaceCard, slugInput } from "./home.js";

export function tenantPage({ tenant, signal, go }) {
  const place = h("div");
  const may = session.may("namespace.create", tenant);
  const read = () => fill(place, "namespaces", () => all((part) => api.namespacesOf(tenant, { ...part, signal })),
  (own) => (own.length === 0
    ? empty("This tenant has no namespaces yet.", may && h("p", "Create the first below."))
    : [h("p.count", plural(own.length, "namespace")), h("ul.cards", own.map(namespaceCard))]), signal);
  read();
  return {
    node: h("div.page", heading(tenant), place,
      may && h("details.drawer", { data: { key: "create-namespace" } }, h("summary", "Create a namespace"),
        form({}, async (data) => {
          const body = { slug: data.get("slug").trim() };
          for (const key of ["display_name", "description"]) if (data.get(key).trim()) body[key] = data.get(key).trim();
          await api.createNamespace(tenant, body);
          go(namespacePath(tenant, body.slug));
        },
        h("div.fields",
          field("Slug", slugInput("slug"), "a–z, 0–9 and hyphens; it stays"),
          field("Name", h("input", { name: "display_name", maxlength: "200" }), "for people; the slug if left empty"),
          field("Description", h("input", { name: "description", maxlength: "1000" }))),
        h("div.actions", h("button.primary", { type: "submit" }, "Create namespace"))))),
  };
}
