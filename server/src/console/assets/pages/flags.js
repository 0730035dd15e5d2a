// The flags of a namespace: a list to search, and one flag beside it.

import { announce, debounced, h, swap } from "../dom.js";
import { Refusal } from "../api.js";
import { number } from "../format.js";
import { environments, stance } from "../model.js";
import { namespacePath, refine, to } from "../route.js";
import { session } from "../session.js";
import { empty, failed, field, heading, lever, lifecycle, loading, select, STANCE_WORDS, typeWord } from "../ui.js";
import { VirtualList } from "../parts/list.js";
import { flagView } from "./flag.js";

/** Levers drawn in a row of the list; of more environments the list shows the first. */
const MOST_LEVERS = 5;
/** How long a change is marked. */
const FRESH_MS = 8000;

const TYPES = ["boolean", "string", "integer", "float", "json"];
const STAGES = ["development", "active", "retired"];

export function flagsPage(scene) {
  const { tenant, namespace, live, query } = scene;
  let chosen = scene.rest[0] ?? null;
  let environment = query.get("env");
  let lens = [];

  const search = h("input", { type: "search", id: "flag-search", value: query.get("q") ?? "", placeholder: "key, owner, tag", autocomplete: "off", spellcheck: "false" });
  const type = select([["", "any"], ...TYPES.map((one) => [one, one])], query.get("type") ?? "", { id: "flag-type" });
  const stage = select([["", "any"], ...STAGES.map((one) => [one, one])], query.get("stage") ?? "", { id: "flag-stage" });
  const count = h("span.count", { role: "status" });
  const detail = h("section.detail", { "aria-label": "Flag" });
  const body = h("div.split");
  const address = (key) => to(namespacePath(tenant, namespace, "flags", key), { q: search.value.trim(), type: type.value, stage: stage.value, env: environment });

  const list = new VirtualList({
    label: "Flags",
    keyOf: (flag) => flag.key,
    href: (flag) => address(flag.key),
    selected: (flag) => flag.key === chosen,
    draw: (flag) => row(flag, lens),
  });

  function matching(model) {
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    return model.flags.filter((flag) => {
      if (type.value && flag.type !== type.value) return false;
      if (stage.value && flag.lifecycle !== stage.value) return false;
      if (words.length === 0) return true;
      const text = [flag.key, flag.description, flag.owner ?? "", ...flag.tags].join("\n").toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }

  function filter(stale) {
    const { model } = live;
    if (!model) return;
    const found = matching(model);
    count.textContent = found.length === model.flags.length ? `${number(found.length)} flags` : `${number(found.length)} of ${number(model.flags.length)} flags`;
    list.show(found, stale);
    list.node.classList.toggle("vlist-none", found.length === 0);
  }

  function showDetail() {
    const { model } = live;
    body.classList.toggle("split-open", chosen !== null);
    const flag = chosen === null ? null : model.byFlag.get(chosen);
    if (chosen === null) swap(detail, hint(model));
    else if (!flag) swap(detail, empty(`There is no flag ${chosen} in version ${model.version}.`));
    else {
      if (!environment || !environments(model).includes(environment)) environment = environments(model)[0];
      swap(detail, flagView(flag, {
        ...scene, model, environment, changedAt: live.changed.get(chosen),
        choose(next) { environment = next; refine({ env: next }); showDetail(); },
      }));
    }
  }

  let whole = null;
  function draw(changed = null) {
    const { model, failure } = live;
    if (!model) {
      whole = null;
      if (!failure) swap(body, loading("flags"));
      else if (failure instanceof Refusal && failure.status === 404) swap(body, nothingYet(tenant, namespace));
      else swap(body, failed(failure, () => live.refresh()));
      return;
    }
    lens = environments(model).slice(0, MOST_LEVERS);
    if (whole === null) {
      swap(body, h("div.master", toolbar(), list.node), detail);
      requestAnimationFrame(ready);
    }
    whole = model;
    filter(changed ? (key) => changed.has(key) : () => true);
    showDetail();
  }

  function toolbar() {
    return h("div.toolbar", { role: "search", "aria-label": "Flags" },
      field("Search", search), field("Type", type), field("Lifecycle", stage));
  }

  const narrow = () => { refine({ q: search.value.trim(), type: type.value, stage: stage.value }); filter(() => true); list.node.scrollTop = 0; };
  search.addEventListener("input", debounced(narrow, 80));
  type.addEventListener("change", narrow);
  stage.addEventListener("change", narrow);
  search.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    list.node.querySelector("[tabindex='0']")?.focus();
  });

  const off = live.on((kind, detail) => {
    if (kind !== "model") return;
    const changed = detail?.before ? new Set(detail.changed) : null;
    draw(changed);
    for (const key of changed ?? []) flash(list.row(key));
    if (changed?.has(chosen)) flash(detailHead());
  });
  const detailHead = () => detail.querySelector(".flag-head");

  // Once the list has a height.
  function ready() {
    filter();
    if (chosen) list.reveal(chosen);
  }
  draw();

  return {
    node: h("div.page.page-flags", heading("Flags", count), body),
    update(next) {
      const before = chosen;
      chosen = next.rest[0] ?? null;
      environment = next.query.get("env") ?? environment;
      if (live.model) {
        filter((key) => key === before || key === chosen);
        showDetail();
        if (chosen && matchMedia("(max-width: 63.99rem)").matches) detail.querySelector("h2")?.focus();
        else if (chosen) announce(`${chosen} is shown`);
        else if (before) list.row(before)?.firstChild.focus();
      }
    },
    stop() { off(); list.stop(); },
  };
}

function row(flag, lens) {
  return [
    h("span.row-levers", { title: lens.map((env) => `${env}: ${STANCE_WORDS[stance(flag, env)]}`).join("\n") },
      lens.map((env) => lever(stance(flag, env), flag.type)),
      h("span.unseen", lens.filter((env) => stance(flag, env) !== "normal").map((env) => `${env} ${STANCE_WORDS[stance(flag, env)]}`).join(", "))),
    h("span.row-main", h("span.row-key", flag.key), h("span.row-text", flag.description || "no description")),
    h("span.row-side", typeWord(flag.type), lifecycle(flag.lifecycle)),
  ];
}

function hint(model) {
  const lively = model.flags.filter((flag) => environments(model).some((env) => stance(flag, env) !== "normal")).length;
  return h("div.state.state-empty",
    h("div.frame-idle", { "aria-hidden": "true" }, lever("normal"), lever("reversed"), lever("normal")),
    h("p.state-title", "Choose a flag to see its rules."),
    h("p.quiet", `${number(lively)} of ${number(model.flags.length)} flags look at who asks, in one environment or another: their levers are pulled.`));
}

export function nothingYet(tenant, namespace) {
  return empty("No flags have been uploaded yet.",
    session.may("manifest.write", tenant, namespace)
      ? h("p", h("a", { href: to(namespacePath(tenant, namespace, "upload")) }, "Upload an archive"), " or run ", h("code", `leverframe manifest push ${tenant}/${namespace} DIR`), ".")
      : h("p", "They appear here as soon as somebody with a write token uploads them."));
}

/** Marks what has just changed, for as long as an eye needs to find it. */
export function flash(node) {
  if (!node) return;
  node.classList.remove("flash");
  // Reading a layout value between the two begins the animation anew.
  void node.offsetWidth;
  node.classList.add("flash");
  setTimeout(() => node.classList.remove("flash"), FRESH_MS);
}
