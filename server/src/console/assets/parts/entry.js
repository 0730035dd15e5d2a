// The form that writes an entry. It keeps what is being typed, whatever arrives meanwhile, and overwrites nobody's change.

import { api, Refusal } from "../api.js";
import { announce, h, swap } from "../dom.js";
import { field, form, select } from "../ui.js";

const KIND_NAMES = [["configs", "Config"], ["flags", "Flag"], ["secrets", "Secret"]];

/** `held(kind, key)` gives what is there now; `saved` is called when something was written. */
export function entryForm({ at, held, saved }) {
  const kind = select(KIND_NAMES, "configs", { id: "entry-kind", name: "kind" });
  const key = h("input.mono", { id: "entry-key", name: "key", required: true, maxlength: "256", autocomplete: "off", spellcheck: "false" });
  const moved = h("div", { id: "entry-moved" });
  const parts = { configs: configFields(), flags: flagFields(), secrets: secretFields() };
  /** The version that this is a change of: 0 for a new entry. */
  let base = 0;
  /** Whether something was typed that is not kept yet. */
  let typed = false;

  function fit() {
    for (const [name, part] of Object.entries(parts)) {
      part.node.hidden = name !== kind.value;
      for (const control of part.node.querySelectorAll("input, select, textarea")) control.disabled = part.node.hidden;
    }
  }

  function load() {
    const one = held(kind.value, key.value.trim());
    base = one?.version ?? 0;
    parts[kind.value].load(one);
    typed = false;
    swap(moved);
    delete moved.dataset.version;
  }

  /** Another name: what was typed before the name stays. */
  function renamed() {
    const one = held(kind.value, key.value.trim());
    if (one && !typed) { load(); return; }
    base = one?.version ?? 0;
    swap(moved, one && h("p.notice", { role: "status" }, `There is version ${base} already: saving replaces it. “Show what is set” loads it.`));
  }

  const node = h("details.drawer", { id: "entry", data: { key: "entry" } }, h("summary", "Write a setting"),
    form({ id: "entry-form" }, async () => {
      const name = key.value.trim();
      const { version } = await api.putEntry(at, kind.value, name, parts[kind.value].body(), base);
      // Nothing that is secret stays in the form.
      parts.secrets.load();
      base = version;
      typed = false;
      swap(moved, h("p.notice.notice-good", { role: "status" }, `Saved as version ${version}.`));
      announce(`${name} is saved.`);
      saved();
    },
    h("div.fields", field("Kind", kind), field("Key", key, "a letter, then letters, digits, _ . : and -")),
    Object.values(parts).map((part) => part.node), moved,
    h("div.actions", h("button.primary", { type: "submit" }, "Save"), h("button", { type: "button", id: "entry-reload", onclick: load }, "Show what is set"))));

  kind.addEventListener("change", () => { fit(); load(); });
  key.addEventListener("change", renamed);
  for (const part of Object.values(parts)) part.node.addEventListener("input", () => { typed = true; });
  fit();

  return {
    node,
    edit(of, name) {
      kind.value = of;
      key.value = name;
      fit();
      load();
      node.open = true;
      parts[of].first.focus();
    },
    /** Takes note of what arrived; of the form's fields none is touched. */
    refresh(service) {
      const secrets = kind.querySelector("option[value=secrets]");
      secrets.disabled = service.kind === "frontend";
      if (!node.open || !key.value.trim()) return;
      const version = held(kind.value, key.value.trim())?.version ?? 0;
      if (version === base || moved.dataset.version === String(version) || version < base) return;
      moved.dataset.version = String(version);
      swap(moved, h("p.notice", { role: "status" }, `Meanwhile version ${version} was written. “Show what is set” loads it; saving is refused until then.`));
    },
  };
}

function configFields() {
  const type = select([["text", "text"], ["json", "number, boolean, list or object, as JSON"]], "text", { id: "entry-type" });
  const value = h("textarea.mono", { id: "entry-value", rows: "4", spellcheck: "false", autocomplete: "off" });
  return {
    first: value,
    node: h("div.fields", field("Type", type), field("Value", value, "{{config:KEY}}, {{flag:KEY}} and {{secret:KEY}} stand for what is set there")),
    load(one) {
      const isText = one === undefined || typeof one.value === "string";
      type.value = isText ? "text" : "json";
      value.value = isText ? one?.value ?? "" : one.text;
    },
    body() {
      const json = type.value === "text" ? JSON.stringify(value.value) : value.value;
      read(json, "the value");
      return `{"value":${json}}`;
    },
  };
}

function flagFields() {
  const active = h("input", { type: "checkbox", id: "entry-active" });
  const starts = h("input.mono", { id: "entry-starts", autocomplete: "off", placeholder: "2026-06-01T10:00:00Z" });
  const ends = h("input.mono", { id: "entry-ends", autocomplete: "off", placeholder: "2026-07-01T10:00:00Z" });
  const percent = h("input.mono", { id: "entry-percent", inputmode: "decimal", autocomplete: "off", placeholder: "100" });
  const rules = h("textarea.mono", { id: "entry-rules", rows: "4", spellcheck: "false", autocomplete: "off", placeholder: "[{\"attribute\": \"plan\", \"op\": \"eq\", \"value\": \"pro\"}]" });
  return {
    first: active,
    node: h("div.settings-part", h("div.check", active, h("label", { for: "entry-active" }, "On")),
      h("div.fields", field("From", starts, "at once if left empty"), field("Until", ends, "for ever if left empty"), field("For so many of a hundred users", percent, "for all if left empty")),
      field("Rules", rules, "predicates as JSON; for whom none holds it is off")),
    load(one) {
      const flag = one?.value ?? {};
      active.checked = flag.is_active ?? false;
      starts.value = flag.starts_at ?? "";
      ends.value = flag.ends_at ?? "";
      percent.value = flag.rollout_percent ?? "";
      rules.value = flag.rules?.length > 0 ? JSON.stringify(flag.rules, null, 1) : "";
    },
    body() {
      const flag = { is_active: active.checked };
      if (starts.value.trim()) flag.starts_at = starts.value.trim();
      if (ends.value.trim()) flag.ends_at = ends.value.trim();
      if (percent.value.trim()) flag.rollout_percent = read(percent.value, "the share of users");
      if (rules.value.trim()) flag.rules = read(rules.value, "what stands under rules");
      return JSON.stringify(flag);
    },
  };
}

function secretFields() {
  const type = select([["text", "text"], ["file", "file"], ["base64", "file of bytes, in base64"]], "text", { id: "entry-form-of" });
  const value = h("textarea.mono.settings-secret", { id: "entry-secret", rows: "4", spellcheck: "false", autocomplete: "off", required: true });
  return {
    first: value,
    node: h("div.fields", field("Handed out as", type), field("Value", value, "what is there already is not shown")),
    load(one) {
      type.value = { file: "file", file_base64: "base64" }[one?.form] ?? "text";
      value.value = "";
    },
    body() {
      const secret = { value: value.value, type: type.value === "text" ? "text" : "file" };
      if (type.value === "base64") secret.encoding = "base64";
      return JSON.stringify(secret);
    },
  };
}

function read(text, what) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(0, "form", `${what} is no JSON: text stands in quotes, and lists in [ ]`);
  }
}
