// The versions of a namespace: who uploaded what, what differs between two, and the way back.

import { api, Refusal } from "../api.js";
import { announce, h, swap } from "../dom.js";
import { bytes, number } from "../format.js";
import { go, namespacePath, to } from "../route.js";
import { session } from "../session.js";
import { chip, code, confirmed, empty, failed, fill, heading, loading, sentence, table, time } from "../ui.js";
import { nothingYet } from "./flags.js";

export function historyPage(scene) {
  const { tenant, namespace, live, signal } = scene;
  const may = session.may("manifest.write", tenant, namespace);
  let range = rangeOf(scene.rest[0]);
  let versions = [];
  let next = null;
  let failure = null;
  let known = false;

  const list = h("div");
  const diff = h("section.diff", { "aria-label": "Differences", tabindex: "-1" });
  const notice = h("div", { role: "status" });

  async function read(more = false) {
    try {
      const part = await api.versions(tenant, namespace, { cursor: more ? next : null, limit: 50, signal });
      versions = more ? [...versions, ...part.items] : part.items;
      next = part.next;
      failure = null;
    } catch (error) {
      if (signal.aborted) return;
      failure = error;
    }
    known = true;
    draw();
  }

  function draw() {
    if (!known) return void swap(list, loading("versions"));
    if (failure) return void swap(list, failed(failure, () => read()));
    if (versions.length === 0) return void swap(list, nothingYet(tenant, namespace));
    const current = versions[0].version;
    swap(list,
      picker(),
      table("Versions", ["Version", "Uploaded", "By", ["Flags", "num"], ["Segments", "num"], ["Size", "num"], "Content", "What to do"],
        versions.map((version) => versionRow(version, current))),
      next && h("p.more", h("button", { type: "button", id: "more-versions", onclick: () => read(true) }, "Show older versions")));
  }

  function versionRow(version, current) {
    const { version: number_, uploaded_at: at, uploaded_by: by, flag_count: flags, segment_count: segments, size, sha256 } = version;
    const on = range && (range[0] === number_ || range[1] === number_);
    return h("tr", { data: { key: `version ${number_}` }, class: on ? "row-on" : null },
      h("th", { scope: "row" }, h("span.plate.plate-small", `v${number_}`), number_ === current && h("span.now", "current")),
      h("td", time(at)), h("td", h("code", by || "–")), h("td.num", number(flags)), h("td.num", number(segments)),
      h("td.num", bytes(size)), h("td", h("code.digest", { title: sha256 }, sha256.slice(0, 10))),
      h("td.row-actions",
        number_ > 1 && h("a", { href: to(namespacePath(tenant, namespace, "history", `${number_ - 1}..${number_}`)) }, "What it changed"),
        may && number_ !== current && h("button.small", { type: "button", id: `rollback-${number_}`, onclick: () => rollback(number_, current) }, "Roll back to it")));
  }

  function picker() {
    const options = (chosen) => versions.map(({ version }) => h("option", { value: String(version), selected: version === chosen }, `v${version}`));
    const from = h("select", { id: "diff-from" }, options(range?.[0] ?? versions[1]?.version));
    const until = h("select", { id: "diff-to" }, options(range?.[1] ?? versions[0].version));
    const compare = () => go(namespacePath(tenant, namespace, "history", `${from.value}..${until.value}`));
    return versions.length < 2 ? null : h("div.toolbar",
      h("div.field", h("label", { for: "diff-from" }, "From"), from),
      h("div.field", h("label", { for: "diff-to" }, "To"), until),
      h("button", { type: "button", id: "compare", onclick: compare }, "Compare"));
  }

  async function rollback(version, current) {
    const yes = await confirmed({
      title: `Roll back to version ${version}?`,
      body: [
        h("p", `Version ${current + 1} will have the content of version ${version}. Every client gets it within moments; version ${current} stays in the history.`),
        h("p", h("a", { href: to(namespacePath(tenant, namespace, "history", `${current}..${version}`)), target: null }, `What changes between ${current} and ${version}`)),
      ],
      action: "Roll back", danger: true,
    });
    if (!yes) return;
    try {
      const answer = await api.rollback(tenant, namespace, version, current);
      announce(`Version ${answer.version} is current, with the content of version ${version}.`);
      swap(notice, h("p.notice.notice-good", `Version ${answer.version} is current, with the content of version ${version}.`));
      await read();
      live?.refresh();
    } catch (error) {
      if (signal.aborted) return;
      const text = error instanceof Refusal && error.code === "version_conflict"
        ? `Somebody was faster: version ${error.details.current_version} is current. Nothing was rolled back.`
        : sentence(error.message);
      swap(notice, h("p.notice.notice-bad", text));
      announce(text, true);
      await read();
    }
  }

  function showDiff() {
    if (!range) { swap(diff); return; }
    const [from, until] = range;
    fill(diff, "the differences", () => api.diff(tenant, namespace, from, until, signal), (answer) => drawDiff(answer, from, until, scene), signal);
  }

  const off = live ? live.on((kind, detail) => {
    if (kind === "model" && detail.before?.version !== live.model?.version) read();
  }) : null;

  draw();
  read().then(showDiff);
  return {
    node: h("div.page", heading("History"), notice, diff, list),
    update(to) {
      range = rangeOf(to.rest[0]);
      draw();
      showDiff();
      diff.focus({ preventScroll: true });
      diff.scrollIntoView({ block: "nearest" });
    },
    stop: off,
  };
}

function rangeOf(text) {
  const found = /^(\d{1,15})\.\.(\d{1,15})$/.exec(text ?? "");
  return found ? [Number(found[1]), Number(found[2])] : null;
}

const KIND = { added: "+", removed: "−", changed: "~" };

/** Changes in words, by what they are about; then whom they move. */
function drawDiff(answer, from, until, { tenant, namespace }) {
  const { changes = [], moves = [], max_moved: most } = answer;
  const groups = new Map();
  for (const change of changes) {
    const head = change.subject.split(" / ")[0];
    if (!groups.has(head)) groups.set(head, []);
    groups.get(head).push(change);
  }
  return [
    h("header.diff-head",
      h("h2", "From ", h("span.plate.plate-small", `v${from}`), " to ", h("span.plate.plate-small", `v${until}`)),
      most && h("p.diff-most", h("strong", `${trim(most.percent)}%`), " of the buckets move at most"),
      h("a", { href: to(namespacePath(tenant, namespace, "history")) }, "Close")),
    changes.length === 0 ? empty("No differences.") : h("div.changes", [...groups].map(([head, list]) => h("section.change-group",
      h("h3", words(head)),
      h("ul", list.map((change) => h("li.change", { class: `change-${change.kind}` },
        h("span.change-sign", { "aria-hidden": "true" }, KIND[change.kind] ?? "·"), h("span.unseen", `${change.kind}: `),
        h("span", change.subject.includes(" / ") && h("span.change-place", words(change.subject.split(" / ").slice(1).join(" › "))),
          change.detail ? words(change.detail) : h("span.quiet", change.kind)))))))),
    moves.length > 0 && h("section.moves",
      h("h3", "Whom it moves"),
      h("ul", moves.map(move))),
  ];
}

function move(found) {
  const where = [code(found.flag), " in ", found.environment === "_" ? "any other environment" : found.environment];
  if (found.too_many_cases) return h("li", where, ": could not be told exactly, ", found.too_many_cases);
  const { worst, named = [] } = found;
  return h("li.move",
    h("span", where, ": ", h("strong", `${trim(worst.share.percent)}%`),
      worst.example && [" go from ", chip(worst.example.from, "variant"), " to ", chip(worst.example.to, "variant")],
      worst.when.length > 0 && [" when ", worst.when.map((one, at) => [at > 0 && " and ", code(one)])],
      named.length > 0 && ["; and by name ", named.join(", ")],
      !found.exact && h("span.quiet", " (not exact)")),
    h("div.bucket-bar", { "aria-hidden": "true" }, h("span.bucket-fill.fill-moved", { style: { "--from": "0%", "--wide": `${Math.min(100, Number(worst.share.percent))}%` } })));
}

function trim(percent) {
  return String(Number(Number(percent).toFixed(2)));
}

/** Sets what the server put between backticks in the type of code. */
export function words(text) {
  return text.split(/(`[^`]*`)/).map((part) => (part.length > 1 && part.startsWith("`") ? code(part.slice(1, -1)) : part));
}

