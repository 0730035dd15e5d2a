// The form for limits. It keeps what is being typed, whatever arrives meanwhile, and overwrites nobody's change.

import { api, Refusal } from "../api.js";
import { announce, h, swap } from "../dom.js";
import { field, form, select } from "../ui.js";

/** `settingsOf(site)` gives what is set now; `saved` is called when something was. */
export function limitsForm({ org, settingsOf, saved }) {
  const where = select([["", "every site"]], "", { name: "site", id: "gate-where" });
  const global = h("input.mono", { name: "global", id: "gate-global", inputmode: "decimal", autocomplete: "off", placeholder: "no limit" });
  const tags = h("textarea.mono", { name: "tags", id: "gate-tags", rows: "5", spellcheck: "false", autocomplete: "off", placeholder: "free = 10" });
  const lease = h("input.mono", { name: "lease", id: "gate-lease", inputmode: "numeric", autocomplete: "off", placeholder: "300" });
  const interval = h("input.mono", { name: "interval", id: "gate-interval", inputmode: "decimal", autocomplete: "off", placeholder: "5" });
  const status = h("input", { name: "status", id: "gate-status", maxlength: "200", autocomplete: "off" });
  const moved = h("div", { id: "gate-moved" });
  let base = null;
  let sites = "";

  function load() {
    base = settingsOf(where.value);
    global.value = base.global_max_weight ?? "";
    tags.value = Object.entries(base.tag_max_weights ?? {}).map(([tag, limit]) => `${tag} = ${limit}`).join("\n");
    lease.value = base.lease_duration_seconds ?? "";
    interval.value = base.pulse_interval ? base.pulse_interval / 1000 : "";
    status.value = base.status ?? "";
    swap(moved);
  }

  function changes() {
    const body = {};
    const put = (key, value) => { if (value !== (base[key] ?? null)) body[key] = value; };
    put("global_max_weight", numberOf(global.value, "the heaviest call"));
    put("lease_duration_seconds", numberOf(lease.value, "how long a policy holds"));
    const seconds = numberOf(interval.value, "how often to report");
    put("pulse_interval", seconds === null ? null : Math.round(seconds * 1000));
    put("status", status.value.trim() || null);
    const wanted = new Map(tags.value.split("\n").filter((line) => line.trim()).map(limitOf));
    const limits = {};
    for (const [tag, limit] of wanted) if (base.tag_max_weights?.[tag] !== limit) limits[tag] = limit;
    for (const tag of Object.keys(base.tag_max_weights ?? {})) if (!wanted.has(tag)) limits[tag] = null;
    if (Object.keys(limits).length > 0) body.tag_max_weights = limits;
    return body;
  }

  const node = h("details.drawer", { id: "gate-limits", data: { key: "limits" } }, h("summary", "Set limits"),
    form({}, async () => {
      const body = changes();
      if (Object.keys(body).length === 0) throw new Refusal(0, "form", "nothing is changed");
      const at = where.value;
      const { settings } = await api.setGate(org, { ...body, if_revision: base.revision, ...(at ? { site: at } : {}) });
      base = settings;
      swap(moved, h("p.notice.notice-good", { role: "status" }, "Saved. Instances go by it from their next report on."));
      announce("Saved.");
      saved();
    },
    h("div.fields",
      field("For", where),
      field("Heaviest call", global, "weight; empty for no limit, 0 refuses every call"),
      field("Policy holds, in seconds", lease, "without being confirmed"),
      field("Report every, in seconds", interval),
      field("Status", status, "for people")),
    field("By tag", tags, "a line each, as free = 10; -1 refuses calls of any weight; __default__ are calls without a tag"),
    moved,
    h("div.actions", h("button.primary", { type: "submit" }, "Save limits"), h("button", { type: "button", id: "gate-reload", onclick: load }, "Show what is set"))));

  where.addEventListener("change", load);
  node.addEventListener("toggle", () => { if (node.open && base === null) load(); });

  return {
    node,
    /** Takes note of what arrived; of the form's fields none is touched. */
    refresh(now) {
      const names = now.sites.map((site) => site.site);
      if (names.join("\n") !== sites) {
        sites = names.join("\n");
        const chosen = where.value;
        where.replaceChildren(...[["", "every site"], ...names.map((name) => [name, `site ${name}`])].map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
      }
      if (!node.open || base === null) return;
      const { revision, updated_by: by } = settingsOf(where.value);
      const known = moved.dataset.revision === String(revision);
      if (revision > base.revision && !known) {
        moved.dataset.revision = String(revision);
        swap(moved, h("p.notice", { role: "status" }, `Meanwhile revision ${revision} was set${by ? ` by ${by}` : ""}. “Show what is set” loads it; saving is refused until then.`));
      }
    },
  };
}

function numberOf(text, what) {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  const number = Number(trimmed);
  if (!Number.isFinite(number)) throw new Refusal(0, "form", `${what} is “${trimmed}”, which is no number`);
  return number;
}

function limitOf(line) {
  // A tag may hold `=` itself, a weight does not.
  const at = line.lastIndexOf("=");
  const tag = line.slice(0, at).trim();
  if (at < 0 || tag === "") throw new Refusal(0, "form", `“${line.trim()}” is no limit: write it as free = 10`);
  const limit = numberOf(line.slice(at + 1), `the limit of ${tag}`);
  if (limit === null) throw new Refusal(0, "form", `“${line.trim()}” names no weight: write it as free = 10`);
  return [tag, limit];
}
