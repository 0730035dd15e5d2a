// The audit log: every authorised write, and every attempt that was refused.

import { api } from "../api.js";
import { h, swap } from "../dom.js";
import { plural } from "../format.js";
import { chip, empty, failed, field, heading, loading, table, time } from "../ui.js";

export function auditPage({ tenant, signal }) {
  const search = h("input", { type: "search", id: "audit-search", placeholder: "action, target, principal" });
  const count = h("span.count", { role: "status" });
  const list = h("div");
  let events = [];
  let next = null;

  async function read(more = false) {
    if (!more) swap(list, loading("the log"));
    try {
      const part = await api.audit(tenant, { cursor: more ? next : null, limit: 100, signal });
      events = more ? [...events, ...part.items] : part.items;
      next = part.next;
      draw();
    } catch (error) {
      if (!signal.aborted) swap(list, failed(error, () => read(more)));
    }
  }

  function draw() {
    const words = search.value.trim().toLowerCase();
    const found = events.filter((event) => Object.values(event).join("\n").toLowerCase().includes(words));
    count.textContent = `${plural(found.length, "entry").replace("entrys", "entries")}${next ? ", older ones not read" : ""}`;
    swap(list, found.length === 0 ? empty(events.length === 0 ? "Nothing has been written yet." : "Nothing like that in what was read.")
      : table("Audit log", ["When", "Who", "What", "To what", "Outcome", "More", "Request"], found.map((event) => h("tr", { data: { key: event.request_id } },
        h("td", time(event.at)), h("td", h("code", event.principal || "command line")), h("td", event.action), h("td", h("code", event.target)),
        h("td", chip(event.outcome, event.outcome === "ok" ? "good" : "bad")), h("td", event.detail || ""), h("td", h("code.digest", event.request_id))))),
    next && h("p.more", h("button", { type: "button", id: "older", onclick: () => read(true) }, "Show older entries")));
  }

  search.addEventListener("input", draw);
  read();
  return { node: h("div.page", heading("Audit log"), h("div.toolbar", { role: "search", "aria-label": "Audit log" }, field("Search", search), count), list) };
}
