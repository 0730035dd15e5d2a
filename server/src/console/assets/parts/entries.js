// What a service has, as tables: configs, flags, and that there are secrets.

import { h } from "../dom.js";
import { plural } from "../format.js";
import { chip, code, empty, table, time } from "../ui.js";

/** Kinds of entry: name in addresses, heading, word for one. */
export const KINDS = [["configs", "Configs", "config"], ["flags", "Flags", "flag"], ["secrets", "Secrets", "secret"]];

/** Rows that are drawn; whoever has more looks for them. */
const MOST_ROWS = 300;
const FORMS = { text: "text", file: "file", file_base64: "file of bytes" };

/** Gives what draws the tables. Its buttons hold names alone: what they stand for may change under them. */
export function entryTables({ may, mayRead, actions }) {
  const button = (text, label, run) => h("button.small", { type: "button", "aria-label": label, onclick: run }, text);

  function row(kind, one, cells, ...more) {
    const { key } = one;
    return h("tr", { data: { key: `${kind} ${key}` } },
      h("th", { scope: "row" }, code(key)), cells.map((cell) => h("td", cell)),
      h("td.num", String(one.version)), h("td", time(one.updated_at)),
      h("td.row-actions", more,
        may && button(kind === "secrets" ? "Replace" : "Edit", `${kind === "secrets" ? "Replace" : "Edit"} ${key}`, () => actions.edit(kind, key)),
        may && button("Delete", `Delete ${key}`, () => actions.remove(kind, key))));
  }

  const draw = {
    configs: [["Value"], (one) => row("configs", one, [h("code.clip.settings-value", one.text)])],
    flags: [["State", "For whom"], (one) => row("flags", one, [flagState(one.value), forWhom(one.value)])],
    secrets: [["Value", "Kind"], (one) => row("secrets", one, [h("span.settings-mask", { title: "hidden" }, h("span", { "aria-hidden": "true" }, "••••••••"), h("span.unseen", "hidden")), FORMS[one.form] ?? one.form],
      mayRead && button("Show", `Show ${one.key}`, () => actions.reveal(one.key)),
      button("Versions", `Versions of ${one.key}`, () => actions.versions(one.key)))],
  };

  return (have, wanted) => KINDS.filter(([kind]) => kind !== "secrets" || have.service.kind !== "frontend").map(([kind, title, word]) => {
    const found = have[kind].filter(({ key }) => key.toLowerCase().includes(wanted));
    const [heads, of] = draw[kind];
    const left = found.length - MOST_ROWS;
    return h("section.settings-part", { data: { key: kind }, "aria-labelledby": `settings-${kind}` },
      h("h2", { id: `settings-${kind}` }, title, h("span.count", wanted ? `${found.length} of ${plural(have[kind].length, word)}` : plural(found.length, word))),
      found.length === 0 ? empty(wanted ? "Nothing matches." : `No ${word}s yet.`)
        : table(title, ["Key", ...heads, ["Version", "num"], "Written", "What to do"], found.slice(0, MOST_ROWS).map(of)),
      left > 0 && h("p.quiet", `and ${left} more: search for a part of the key`));
  });
}

function flagState(flag) {
  const now = Date.now();
  const waits = flag.starts_at && Date.parse(flag.starts_at) > now;
  const over = flag.ends_at && Date.parse(flag.ends_at) <= now;
  const on = flag.is_active && !waits && !over;
  return [chip(on ? "on" : "off", on ? "good" : "dim"),
    flag.is_active && waits && [h("span.quiet", " begins "), time(flag.starts_at)],
    flag.is_active && !waits && flag.ends_at && [h("span.quiet", over ? " ended " : " ends "), time(flag.ends_at)]];
}

function forWhom(flag) {
  const share = flag.rollout_percent;
  const rules = flag.rules?.length ?? 0;
  const parts = [share !== undefined && `${share} %`, rules > 0 && plural(rules, "rule")].filter(Boolean);
  return parts.length > 0 ? parts.join(" of those of ") : h("span.quiet", "everybody");
}
