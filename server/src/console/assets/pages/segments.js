// The segments of a namespace: who belongs, and which flags look.

import { Refusal } from "../api.js";
import { debounced, h, swap } from "../dom.js";
import { number, plural } from "../format.js";
import { namespacePath, refine, to } from "../route.js";
import { empty, failed, field, heading, loading } from "../ui.js";
import { members } from "../parts/rules.js";
import { nothingYet } from "./flags.js";

/** Drawn at first; more on demand. A segment is tall and drawn whole, so the list is in parts instead of virtual. */
const PART = 60;

export function segmentsPage(scene) {
  const { tenant, namespace, live, query } = scene;
  let chosen = scene.rest[0] ?? null;
  let shown = PART;
  const search = h("input", { type: "search", id: "segment-search", value: query.get("q") ?? "", placeholder: "key or description" });
  const count = h("span.count", { role: "status" });
  const body = h("div");

  function draw() {
    const { model, failure } = live;
    if (!model) {
      if (!failure) swap(body, loading("segments"));
      else if (failure instanceof Refusal && failure.status === 404) swap(body, nothingYet(tenant, namespace));
      else swap(body, failed(failure, () => live.refresh()));
      return;
    }
    const words = search.value.trim().toLowerCase();
    const found = model.segments.filter((segment) => `${segment.key}\n${segment.description}`.toLowerCase().includes(words));
    const at = found.findIndex((segment) => segment.key === chosen);
    if (at >= shown) shown = at + PART;
    count.textContent = words ? `${number(found.length)} of ${plural(model.segments.length, "segment")}` : plural(model.segments.length, "segment");
    swap(body, found.length === 0
      ? empty(model.segments.length === 0 ? "This namespace has no segments: its rules say themselves whom they mean." : "No segment goes by that name.")
      : h("div.segments", found.slice(0, shown).map((segment) => segmentCard(segment, { ...scene, model }))),
    found.length > shown && h("p.more", h("button", { type: "button", id: "more-segments", onclick: () => { shown += PART; draw(); } }, `Show ${number(Math.min(PART, found.length - shown))} more`)));
  }

  search.addEventListener("input", debounced(() => { refine({ q: search.value.trim() }); shown = PART; draw(); }, 80));
  const off = live.on((kind) => { if (kind === "model") draw(); });
  const reveal = () => {
    const card = chosen && document.getElementById(`segment-${chosen}`);
    if (!card) return;
    card.scrollIntoView({ block: "start" });
    card.querySelector("h2")?.focus({ preventScroll: true });
  };
  draw();
  requestAnimationFrame(reveal);
  return {
    node: h("div.page", heading("Segments"), h("div.toolbar", { role: "search", "aria-label": "Segments" }, field("Search", search), count), body),
    update(next) {
      chosen = next.rest[0] ?? null;
      draw();
      reveal();
    },
    stop: off,
  };
}

function segmentCard(segment, scene) {
  const { model, tenant, namespace } = scene;
  const uses = model.uses.get(segment.key);
  const flags = [...(uses?.flags ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  const segments = [...(uses?.segments ?? [])].sort();
  return h("article.segment-card", { id: `segment-${segment.key}`, data: { key: `segment ${segment.key}` } },
    h("h2", { tabindex: "-1" }, segment.key),
    h("div.segment-members", members(segment, { ...scene, place: `card/${segment.key}` })),
    h("div.segment-uses",
      h("h3", "Used by"),
      flags.length + segments.length === 0
        ? h("p.quiet", "Nothing. It can go.")
        : h("ul.uses",
          flags.map(([key, environments]) => h("li",
            h("a", { href: to(namespacePath(tenant, namespace, "flags", key), { env: [...environments].find((name) => name !== "_") }) }, key),
            h("span.quiet", ` in ${[...environments].map((name) => (name === "_" ? "the catch-all" : name)).join(", ")}`))),
          segments.map((key) => h("li", h("a", { href: to(namespacePath(tenant, namespace, "segments", key)) }, key), h("span.quiet", " (segment)"))))));
}
