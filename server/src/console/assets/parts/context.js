// The editor of a context: rows of name, type and value, or the JSON itself. Both show the same thing.

import { h, swap } from "../dom.js";
import { freshId } from "../ui.js";

const TYPES = [["string", "text"], ["int", "integer"], ["float", "number"], ["bool", "yes or no"], ["list", "texts"]];
/** Rows offered from a file or a paste; the server takes 256 KiB of context. */
const MOST_ROWS = 500;

export class ContextEditor {
  #rows = [];
  #raw = false;
  #broken = null;

  /** `suggestions()` gives the attributes that the manifest reads: `[{name, type}]`. */
  constructor({ suggestions, onChange }) {
    this.suggestions = suggestions;
    this.onChange = onChange;
    this.names = h("datalist", { id: freshId("names") });
    this.rows = h("div.context-rows", { role: "group", "aria-label": "Attributes" });
    this.text = h("textarea.mono", { id: freshId("json"), rows: "9", spellcheck: "false", autocomplete: "off", "aria-label": "Context as JSON" });
    this.error = h("p.form-error", { role: "alert" });
    this.toggle = h("button.small", { type: "button", "aria-pressed": "false", onclick: () => this.#flip() }, "Edit as JSON");
    this.add = h("button.small", { type: "button", onclick: () => this.#addRow() }, "Add attribute");
    this.node = h("div.context", this.names, this.rows, this.text, this.error, h("div.actions", this.add, this.toggle));
    this.text.addEventListener("input", () => { this.#readText(); this.onChange(); });
    this.#draw();
  }

  /** Shows the attributes that a flag looks at, where the context lacks them, as rows to be filled in. */
  offer(attributes) {
    this.#rows = this.#rows.filter((row) => row.name !== "" && (row.value !== "" || !row.offered));
    for (const { name, type } of attributes) {
      if (!this.#rows.some((row) => row.name === name)) this.#rows.push({ name, type: editorType(type), value: "", offered: true });
    }
    this.refresh();
  }

  /** Takes a context over. */
  set(context) {
    this.#rows = Object.entries(context).slice(0, MOST_ROWS).map(([name, value]) => rowOf(name, value));
    this.#broken = null;
    this.refresh();
  }

  refresh() {
    swap(this.names, this.suggestions().map(({ name }) => h("option", { value: name })));
    if (this.#raw) this.text.value = JSON.stringify(this.value() ?? {}, null, 2);
    this.#draw();
  }

  /** The context; `null` while it does not read. Rows without a value are attributes that are absent. */
  value() {
    if (this.#raw && this.#broken) return null;
    const context = {};
    for (const row of this.#rows) {
      const value = valueOf(row);
      if (row.name.trim() !== "" && value !== undefined) context[row.name.trim()] = value;
    }
    return context;
  }

  /** What does not read, in words. */
  problem() {
    if (this.#raw && this.#broken) return this.#broken;
    const seen = new Set();
    for (const row of this.#rows) {
      const name = row.name.trim();
      if (name === "") continue;
      if (seen.has(name)) return `${name} is there twice.`;
      seen.add(name);
      if (row.value !== "" && valueOf(row) === undefined) return `${name}: “${row.value}” is no ${TYPES.find(([type]) => type === row.type)[1]}.`;
    }
    return null;
  }

  #flip() {
    if (this.#raw && this.#broken) { this.text.focus(); return; }
    this.#raw = !this.#raw;
    if (this.#raw) this.text.value = JSON.stringify(this.value() ?? {}, null, 2);
    this.#draw();
    (this.#raw ? this.text : this.toggle).focus();
  }

  #readText() {
    try {
      const read = JSON.parse(this.text.value || "{}");
      if (read === null || typeof read !== "object" || Array.isArray(read)) throw new Error("it has to be an object");
      for (const [name, value] of Object.entries(read)) {
        const list = Array.isArray(value) && value.every((one) => typeof one === "string");
        if (!list && !["string", "number", "boolean"].includes(typeof value)) throw new Error(`${name} has to be a text, a number, true, false or a list of texts`);
      }
      this.#rows = Object.entries(read).slice(0, MOST_ROWS).map(([name, value]) => rowOf(name, value));
      this.#broken = null;
    } catch (error) {
      this.#broken = `The JSON does not read: ${error.message}.`;
    }
    this.error.textContent = this.#broken ?? "";
  }

  #addRow() {
    this.#rows.push({ name: "", type: "string", value: "" });
    this.#draw();
    this.rows.lastElementChild?.querySelector("input")?.focus();
  }

  #draw() {
    this.toggle.textContent = this.#raw ? "Edit as rows" : "Edit as JSON";
    this.toggle.setAttribute("aria-pressed", String(this.#raw));
    this.rows.hidden = this.#raw;
    this.add.hidden = this.#raw;
    this.text.hidden = !this.#raw;
    this.error.textContent = this.problem() ?? "";
    swap(this.rows, this.#rows.length === 0
      ? h("p.quiet", "The context is empty.")
      : this.#rows.map((row, at) => this.#row(row, at)));
  }

  #row(row, at) {
    const say = row.name || `attribute ${at + 1}`;
    const changed = () => { this.error.textContent = this.problem() ?? ""; this.onChange(); };
    const name = h("input.mono", { id: `context-name-${at}`, value: row.name, list: this.names.id, "aria-label": `Name of attribute ${at + 1}`, placeholder: "user.id", autocomplete: "off", spellcheck: "false" });
    name.addEventListener("input", () => { row.name = name.value; row.offered = false; changed(); });
    name.addEventListener("change", () => {
      const known = this.suggestions().find((one) => one.name === row.name.trim());
      if (known && row.value === "" && row.type !== editorType(known.type)) { row.type = editorType(known.type); this.#draw(); }
    });
    const type = h("select", { id: `context-type-${at}`, "aria-label": `Type of ${say}` }, TYPES.map(([value, text]) => h("option", { value, selected: value === row.type }, text)));
    type.addEventListener("change", () => { row.type = type.value; delete row.exact; this.#draw(); changed(); });
    const value = row.type === "bool"
      ? h("select", { id: `context-value-${at}`, "aria-label": `Value of ${say}` }, [["", "absent"], ["true", "yes (true)"], ["false", "no (false)"]].map(([of, text]) => h("option", { value: of, selected: of === row.value }, text)))
      : h("input.mono", { id: `context-value-${at}`, value: row.value, "aria-label": `Value of ${say}`, placeholder: row.type === "list" ? "one, two" : "absent", autocomplete: "off", spellcheck: "false", inputmode: row.type === "int" ? "numeric" : row.type === "float" ? "decimal" : null });
    value.addEventListener(row.type === "bool" ? "change" : "input", () => { row.value = value.value; delete row.exact; changed(); });
    const remove = h("button.small.remove", { type: "button", id: `context-remove-${at}`, "aria-label": `Remove ${say}`, title: "Remove", onclick: () => { this.#rows.splice(at, 1); this.#draw(); changed(); } }, "×");
    return h("div.context-row", name, type, value, remove);
  }
}

function editorType(type) {
  return { string: "string", bool: "bool", boolean: "bool", int: "int", float: "float", str_list: "list" }[type] ?? "string";
}

// What came as JSON stays exactly that until its row is edited: a list may have commas in it, a text may be empty.
function rowOf(name, value) {
  return { ...typed(name, value), exact: value };
}

function typed(name, value) {
  if (Array.isArray(value)) return { name, type: "list", value: value.join(", ") };
  if (typeof value === "boolean") return { name, type: "bool", value: String(value) };
  if (typeof value === "number") return { name, type: Number.isInteger(value) ? "int" : "float", value: String(value) };
  return { name, type: "string", value: String(value) };
}

function valueOf({ type, value, exact }) {
  if (exact !== undefined) return exact;
  if (value === "") return undefined;
  switch (type) {
    case "int": return /^-?\d{1,16}$/.test(value.trim()) && Number.isSafeInteger(Number(value)) ? Number(value) : undefined;
    case "float": return value.trim() !== "" && Number.isFinite(Number(value)) ? Number(value) : undefined;
    case "bool": return value === "true" ? true : value === "false" ? false : undefined;
    case "list": return value.split(",").map((one) => one.trim()).filter(Boolean);
    default: return value;
  }
}
