// A list of any length: only the rows in sight are elements. One stop for the Tab key; arrows, Home, End and the page
// keys move within it.

import { h } from "../dom.js";

/** Rows drawn beyond each edge, so that scrolling by keys and wheels does not show gaps. */
const MARGIN = 8;

/**
 * `draw(item)` makes a row's content, `href(item)` its address, `keyOf(item)` what it is known by. The height of a row is
 * what the stylesheet's `--row` says.
 */
export class VirtualList {
  #items = [];
  #rows = new Map();
  #current = null;
  #observer;

  constructor({ label, draw, href, keyOf, selected = () => false }) {
    Object.assign(this, { draw, href, keyOf, selected });
    this.spacer = h("ul.vlist-rows", { role: "list", "aria-label": label });
    this.node = h("div.vlist", { data: { scroll: `list ${label}` } }, this.spacer);
    this.node.addEventListener("scroll", () => this.#render(), { passive: true });
    this.node.addEventListener("keydown", (event) => this.#key(event));
    this.node.addEventListener("focusin", (event) => {
      const key = event.target.closest("[data-key]")?.dataset.key;
      if (key !== undefined && key !== this.#current) { this.#current = key; this.#tabs(); }
    });
    this.#observer = new ResizeObserver(() => this.#render());
    this.#observer.observe(this.node);
  }

  stop() { this.#observer.disconnect(); }

  /** Exchanges the items; rows of items that stay are the same elements, so focus stays where it is. */
  show(items, stale = () => true) {
    this.#items = items;
    for (const [key, row] of this.#rows) if (stale(key)) row.dataset.stale = "";
    const at = items.findIndex((item) => this.keyOf(item) === this.#current);
    if (at < 0) this.#current = items.length > 0 ? this.keyOf(items[0]) : null;
    this.#render();
  }

  /** Brings an item into sight. */
  reveal(key) {
    const at = this.#items.findIndex((item) => this.keyOf(item) === key);
    if (at < 0) return;
    this.#current = key;
    const height = this.#height();
    const top = at * height;
    if (top < this.node.scrollTop) this.node.scrollTop = top;
    else if (top + height > this.node.scrollTop + this.node.clientHeight) this.node.scrollTop = top + height - this.node.clientHeight;
    this.#render();
  }

  row(key) { return this.#rows.get(key) ?? null; }

  #height() {
    return parseFloat(getComputedStyle(this.node).getPropertyValue("--row")) || 52;
  }

  #render() {
    const height = this.#height();
    const first = Math.max(0, Math.floor(this.node.scrollTop / height) - MARGIN);
    const last = Math.min(this.#items.length, Math.ceil((this.node.scrollTop + this.node.clientHeight) / height) + MARGIN);
    this.spacer.style.setProperty("--height", `${this.#items.length * height}px`);
    const wanted = new Map();
    for (let at = first; at < last; at += 1) wanted.set(this.keyOf(this.#items[at]), at);
    // The row with the focus stays although it is out of sight: removing it would throw the focus away.
    const focused = this.node.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : undefined;
    for (const [key, row] of this.#rows) {
      if (!wanted.has(key) && key !== focused) { row.remove(); this.#rows.delete(key); }
    }
    for (const [key, at] of wanted) this.#place(key, at, height);
    this.#tabs();
  }

  #place(key, at, height) {
    const item = this.#items[at];
    let row = this.#rows.get(key);
    if (!row) {
      row = h("li.vrow", { data: { key } }, h("a.vlink", { href: this.href(item) }));
      this.#rows.set(key, row);
      row.dataset.stale = "";
    }
    const link = row.firstChild;
    if ("stale" in row.dataset) {
      delete row.dataset.stale;
      link.replaceChildren(...[this.draw(item)].flat(Infinity).filter(Boolean));
      link.setAttribute("href", this.href(item));
      if (this.selected(item)) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
    }
    row.setAttribute("aria-setsize", String(this.#items.length));
    row.setAttribute("aria-posinset", String(at + 1));
    row.style.setProperty("--top", `${at * height}px`);
    // The order of elements is the order of reading, also after rows came in above.
    const after = [...this.spacer.children].find((other) => other !== row && Number(other.getAttribute("aria-posinset")) > at + 1);
    if (row.parentNode !== this.spacer || (after ? row.nextSibling !== after : row.nextSibling)) {
      if (document.activeElement !== link) this.spacer.insertBefore(row, after ?? null);
    }
  }

  #tabs() {
    const shown = this.#rows.has(this.#current) ? this.#current : this.#rows.keys().next().value;
    for (const [key, row] of this.#rows) row.firstChild.tabIndex = key === shown ? 0 : -1;
  }

  #key(event) {
    const at = this.#items.findIndex((item) => this.keyOf(item) === this.#current);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.node.clientHeight / this.#height()) - 1);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: this.#items.length - 1, PageDown: at + page, PageUp: at - page }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const key = this.keyOf(this.#items[Math.min(Math.max(next, 0), this.#items.length - 1)]);
    this.reveal(key);
    this.#rows.get(key)?.firstChild.focus({ preventScroll: true });
  }
}
