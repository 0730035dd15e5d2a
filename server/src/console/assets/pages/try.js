// The playground: one context, and what one flag or all of them make of it.

import { address, api } from "../api.js";
import { announce, h, swap } from "../dom.js";
import { number } from "../format.js";
import { attributesOf, environments } from "../model.js";
import { namespacePath, refine, to } from "../route.js";
import { session } from "../session.js";
import { chip, code, copyButton, empty, failed, field, heading, loading } from "../ui.js";
import { ContextEditor } from "../parts/context.js";
import { outcome, trace } from "../parts/trace.js";

/** Contexts by namespace, for as long as the page is open: whoever comes back finds what was typed. */
const kept = new Map();
session.onChange(() => kept.clear());

/** Rows drawn of the answer for all flags; the filter finds the others. */
const MOST_ROWS = 300;

export function tryPage(scene) {
  const { tenant, namespace, live, query, signal } = scene;
  const place = `${tenant}/${namespace}`;
  const publicOnly = !session.may("evaluate", tenant, namespace);
  const bound = session.self.environment ?? null;
  let flagKey = query.get("flag") ?? "";
  let environment = bound ?? query.get("env") ?? "";
  let running = null;
  let answer = null;
  let want = "";

  const flagInput = h("input.mono", { id: "try-flag", list: "try-flags", value: flagKey, placeholder: "all flags", autocomplete: "off", spellcheck: "false" });
  const flagNames = h("datalist", { id: "try-flags" });
  const environmentBox = h("div");
  const testing = h("input", { type: "checkbox", id: "try-testing" });
  const result = h("section.try-result", { "aria-label": "Result", "aria-live": "polite", "aria-busy": "false" });
  const curl = h("pre.curl", { tabindex: "0", "aria-label": "The same as a command" });
  const editor = new ContextEditor({
    suggestions: () => live?.model?.attributes ?? [],
    onChange: () => { kept.set(place, editor.value() ?? kept.get(place) ?? {}); showCurl(); },
  });
  if (kept.has(place)) editor.set(kept.get(place));

  function showControls() {
    const model = live?.model;
    swap(flagNames, (model?.flags ?? []).slice(0, 2000).map((flag) => h("option", { value: flag.key }, flag.description)));
    const names = model ? environments(model).filter((name) => name !== "_") : [];
    if (!environment) environment = names[0] ?? "production";
    const control = bound !== null
      ? h("input.mono", { id: "try-env", value: bound, readonly: true })
      : model?.environments
        ? h("select", { id: "try-env" }, names.map((name) => h("option", { value: name, selected: name === environment }, name)))
        : h("input.mono", { id: "try-env", value: environment, list: "try-envs", autocomplete: "off", spellcheck: "false" });
    control.addEventListener("change", () => { environment = control.value.trim(); refine({ env: environment }); offer(); showCurl(); });
    swap(environmentBox, field("Environment", control), h("datalist", { id: "try-envs" }, names.map((name) => h("option", { value: name }))));
  }

  /** Rows for what the chosen flag looks at, so that nobody has to know the names. */
  function offer() {
    const model = live?.model;
    const flag = model?.byFlag.get(flagKey);
    if (!model || !flag) { editor.refresh(); return; }
    const types = new Map(model.attributes.map((attribute) => [attribute.name, attribute.type]));
    editor.offer(attributesOf(model, flag, environment).map((name) => ({ name, type: types.get(name) ?? "string" })));
  }

  function body() {
    const context = editor.value();
    const of = { environment, context };
    if (flagKey) of.flags = [flagKey];
    if (testing.checked) of.include_testing = true;
    return of;
  }

  function showCurl() {
    const path = flagKey ? "evaluate" : "evaluate/all";
    const quoted = JSON.stringify(body()).replaceAll("'", "'\\''");
    curl.textContent = [
      `curl -sS '${address(tenant, namespace, path)}' \\`,
      "  -H \"Authorization: Bearer $LEVERFRAME_TOKEN\" \\",
      "  -H 'Content-Type: application/json' \\",
      `  -d '${quoted}'`].join("\n");
  }

  async function evaluate({ quiet = false } = {}) {
    const problem = editor.problem();
    if (problem) {
      editor.error.textContent = problem;
      announce(problem, true);
      return;
    }
    running?.abort();
    const mine = running = new AbortController();
    signal.addEventListener("abort", () => mine.abort());
    result.setAttribute("aria-busy", "true");
    if (!quiet) swap(result, loading("the answer"));
    try {
      const request = body();
      const got = await ask(request, mine.signal);
      if (mine.signal.aborted) return;
      answer = { request, got };
      showResult();
      if (!quiet) announce(got.kind === "all" ? `${number(got.rows.length)} flags evaluated.` : `${flagKey} gives ${got.variant ?? "the caller’s default"}.`);
    } catch (error) {
      if (!mine.signal.aborted) swap(result, failed(error, () => evaluate()));
    } finally {
      if (running === mine) result.setAttribute("aria-busy", "false");
    }
  }

  async function ask(request, abort) {
    if (!flagKey) {
      const all = await api.evaluateAll(tenant, namespace, request, abort);
      return { kind: "all", version: all.manifest_version, rows: rowsOf(all) };
    }
    if (publicOnly) {
      const one = await api.evaluate(tenant, namespace, request, abort);
      return { kind: "bare", version: one.manifest_version, ...one.results?.[flagKey], variant: one.results?.[flagKey]?.variant_key, error: one.errors?.[flagKey] };
    }
    const { flags, ...rest } = request;
    const explained = await api.explain(tenant, namespace, { ...rest, flag: flags[0], ...(want ? { want } : {}) }, abort);
    return { kind: "explained", version: explained.manifest_version, variant: explained.outcome?.variant_key ?? null, explained: { ...explained, want } };
  }

  function showResult() {
    if (!answer) {
      swap(result, empty("Nothing has been asked yet.", h("p.quiet", "Fill in what is known of somebody and press Evaluate, or Ctrl+Enter.")));
      return;
    }
    const { got, request } = answer;
    const model = live?.model;
    const asked = h("p.asked", request.flags ? code(request.flags[0]) : "All flags", " in ", h("strong", request.environment ?? bound), ", version ", h("span.plate.plate-small", `v${got.version}`));
    if (got.kind === "all") swap(result, asked, allTable(got.rows));
    else if (got.kind === "bare") swap(result, asked, outcome({ result: got.error ? null : got, error: got.error }));
    else swap(result, asked, outcome({ result: got.explained.outcome, error: got.explained.error }), trace(got.explained, { ...scene, model, take: (context) => { editor.set(context); kept.set(place, context); showCurl(); want = ""; evaluate(); }, wish: (key) => { want = key; evaluate({ quiet: true }); } }));
  }

  function allTable(rows) {
    const filter = h("input", { type: "search", id: "all-filter", value: allTable.words ?? "", placeholder: "flag or variant" });
    const list = h("tbody");
    const count = h("span.count", { role: "status" });
    const draw = () => {
      allTable.words = filter.value;
      const words = filter.value.trim().toLowerCase();
      const found = rows.filter((row) => `${row.key} ${row.variant} ${row.rule}`.toLowerCase().includes(words));
      count.textContent = found.length > MOST_ROWS ? `the first ${MOST_ROWS} of ${number(found.length)}` : `${number(found.length)} flags`;
      swap(list, found.slice(0, MOST_ROWS).map((row) => h("tr",
        h("th", { scope: "row" }, h("a", { href: to(namespacePath(tenant, namespace, "try"), { flag: row.key, env: environment }) }, row.key)),
        h("td", row.error ? chip(row.error, "bad") : h("span.variant-key", row.variant)),
        h("td", h("code.clip", row.value)), h("td.quiet", row.rule))));
    };
    filter.addEventListener("input", draw);
    draw();
    return [
      h("div.toolbar", field("Filter", filter), count),
      h("div.table-wrap", { tabindex: "0", role: "region", "aria-label": "Results" },
        h("table", h("thead", h("tr", ["Flag", "Variant", "Value", "Because of"].map((head) => h("th", { scope: "col" }, head)))), list)),
    ];
  }

  const form = h("form.try-form", { id: "try", autocomplete: "off" },
    h("div.try-what", field("Flag", flagInput, "left empty, all flags are evaluated"), flagNames, environmentBox,
      h("div.check", testing, h("label", { for: "try-testing" }, "Opt in to testing"))),
    h("h2", "Context"), editor.node,
    h("div.actions", h("button.primary", { type: "submit", id: "evaluate" }, "Evaluate")),
    h("details.drawer", { data: { key: "curl" } }, h("summary", "As a command"), curl,
      h("div.actions", copyButton(() => curl.textContent, "Copy command", () => curl)),
      h("p.quiet", "The token is not in it: set ", code("LEVERFRAME_TOKEN"), " yourself.")));
  form.addEventListener("submit", (event) => { event.preventDefault(); evaluate(); });
  form.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); evaluate(); } });
  flagInput.addEventListener("change", () => { flagKey = flagInput.value.trim(); refine({ flag: flagKey }); answer = null; want = ""; offer(); showCurl(); showResult(); });
  testing.addEventListener("change", showCurl);

  const off = live?.on((kind, detail) => {
    if (kind !== "model") return;
    showControls();
    if (!detail.before) { offer(); showCurl(); return; }
    // What was asked is asked again of the new version, so that the answer on the screen is true.
    if (answer) evaluate({ quiet: true });
  });
  showControls();
  offer();
  showCurl();
  showResult();

  return {
    node: h("div.page", heading("Playground"), h("div.try", form, result)),
    update(next) {
      flagKey = next.query.get("flag") ?? "";
      environment = bound ?? next.query.get("env") ?? environment;
      flagInput.value = flagKey;
      answer = null;
      want = "";
      showControls();
      offer();
      showCurl();
      if (flagKey) evaluate(); else showResult();
    },
    stop() { off?.(); running?.abort(); },
  };
}

function rowsOf({ results = {}, errors = {} }) {
  const good = Object.entries(results).map(([key, one]) => ({ key, variant: one.variant_key ?? "", value: JSON.stringify(one.value), rule: ruleWords(one.rule_matched) }));
  const bad = Object.entries(errors).map(([key, one]) => ({ key, variant: "", value: "", rule: one.message ?? "", error: one.code }));
  return [...good, ...bad].sort((a, b) => (a.key < b.key ? -1 : 1));
}

function ruleWords(matched) {
  const found = /^rule:(\d+)$/.exec(matched ?? "");
  return found ? `rule ${Number(found[1]) + 1}` : matched === "default" ? "no rule" : matched ?? "";
}
