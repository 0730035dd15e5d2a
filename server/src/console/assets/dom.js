// Makes and exchanges elements. Text becomes text nodes and nothing else: no function here takes markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "rect", "circle", "line", "title"]);

/**
 * Makes an element: `h("a.plate", {href}, "text", child, [more])`. Keys that begin with `on` are listeners, `style` sets
 * custom properties through the object model (which the content policy permits), `data` sets data attributes; `null`,
 * `undefined` and `false` leave an attribute or a child out.
 */
export function h(selector, props, ...children) {
  const [tag, ...classes] = selector.split(".");
  const svg = SVG_TAGS.has(tag);
  const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag || "div");
  if (classes.length > 0) node.setAttribute("class", classes.join(" "));
  if (props !== null && props !== undefined && (props instanceof Node || typeof props !== "object" || Array.isArray(props))) {
    children.unshift(props);
    props = null;
  }
  for (const [key, value] of Object.entries(props ?? {})) set(node, key, value, svg);
  append(node, children);
  return node;
}

function set(node, key, value, svg) {
  if (value === null || value === undefined || value === false) return;
  if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
  else if (key === "style") for (const [name, of] of Object.entries(value)) node.style.setProperty(name, of);
  else if (key === "data") for (const [name, of] of Object.entries(value)) node.dataset[name] = of;
  else if (key === "class") for (const name of String(value).split(" ").filter(Boolean)) node.classList.add(name);
  else if (!svg && (key === "value" || key === "checked" || key === "disabled" || key === "selected")) node[key] = value;
  else if (key === "href" && !svg) node.setAttribute("href", safeLink(String(value)));
  else node.setAttribute(key, value === true ? "" : String(value));
}

// Links of the console lead into the console. Anything else, such as `javascript:` from a description, leads nowhere.
function safeLink(href) {
  return href.startsWith("#") ? href : "#/";
}

function append(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(node, child);
    else node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/**
 * Exchanges what a container holds. Focus, the caret, opened details and scroll places survive where the new content has
 * an element with the same `id` or `data-key`: what arrives from the server must not take the keyboard away.
 */
export function swap(container, ...children) {
  const held = container.contains(document.activeElement) ? keep(document.activeElement) : null;
  const opened = new Map();
  for (const details of container.querySelectorAll("details[data-key]")) opened.set(details.dataset.key, details.open);
  const places = new Map();
  for (const box of container.querySelectorAll("[data-scroll]")) places.set(box.dataset.scroll, box.scrollTop);

  container.replaceChildren();
  append(container, children);

  for (const details of container.querySelectorAll("details[data-key]")) {
    if (opened.has(details.dataset.key)) details.open = opened.get(details.dataset.key);
  }
  for (const box of container.querySelectorAll("[data-scroll]")) {
    if (places.has(box.dataset.scroll)) box.scrollTop = places.get(box.dataset.scroll);
  }
  if (held) restore(container, held);
  return container;
}

/**
 * Makes what a container holds like `children`, and leaves every element in place that is still there: for what arrives
 * every second. Elements with a `data-key` are known by it, others by their tag and place. Focus, selection, scroll places
 * and what the pointer is over stay as they are; so do listeners, which must not hold what changes.
 */
export function morph(container, ...children) {
  const like = document.createDocumentFragment();
  append(like, children);
  align(container, like);
  return container;
}

function align(at, like) {
  const keyed = new Map([...at.children].filter(({ dataset }) => dataset.key).map((child) => [child.dataset.key, child]));
  let next = at.firstChild;
  for (const wanted of [...like.childNodes]) {
    const key = wanted.dataset?.key;
    let have = key ? keyed.get(key) : next;
    while (!key && have?.dataset?.key) have = have.nextSibling;
    if (!have || have.nodeName !== wanted.nodeName) {
      at.insertBefore(wanted, next);
      continue;
    }
    if (have === next) next = next.nextSibling;
    else at.insertBefore(have, next);
    become(have, wanted);
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

function become(node, like) {
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== like.data) node.data = like.data;
    return;
  }
  for (const { name, value } of [...like.attributes]) {
    if (name !== "style" && node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  for (const { name } of [...node.attributes]) if (name !== "style" && !like.hasAttribute(name)) node.removeAttribute(name);
  // Through the object model: the content policy forbids the attribute.
  for (const name of like.style) if (node.style.getPropertyValue(name) !== like.style.getPropertyValue(name)) node.style.setProperty(name, like.style.getPropertyValue(name));
  align(node, like);
}

function keep(node) {
  const holder = node.closest("[id], [data-key]");
  if (!holder) return { ids: [] };
  // The way up, so that focus goes to the nearest thing that is still there and not to the top of the page.
  const ids = [];
  for (let at = holder; at; at = at.parentElement?.closest("[id], [data-key]")) ids.push([at.id, at.dataset.key]);
  const caret = "selectionStart" in node && node.type !== "checkbox" ? [node.selectionStart, node.selectionEnd] : null;
  return { ids, caret };
}

function restore(container, { ids, caret }) {
  for (const [id, key] of ids) {
    const node = id ? document.getElementById(id) : key && container.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (!node || !container.contains(node)) continue;
    const target = node.matches(FOCUSABLE) ? node : node.querySelector(FOCUSABLE);
    if (!target) continue;
    target.focus({ preventScroll: true });
    if (caret?.[0] !== null && caret && target.setSelectionRange) {
      try { target.setSelectionRange(caret[0], caret[1]); } catch { /* Fields such as numbers have no caret to set. */ }
    }
    return;
  }
  if (container.tabIndex < 0) container.tabIndex = -1;
  container.focus({ preventScroll: true });
}

const FOCUSABLE = "a[href], button:not([disabled]), input:not([disabled]), select, textarea, summary, [tabindex]";

/** Says something to people who cannot see it happen. */
export function announce(text, urgent = false) {
  const region = document.getElementById(urgent ? "assertive" : "polite");
  if (!region) return;
  // The same words twice are said twice only if the region changes in between.
  region.textContent = "";
  requestAnimationFrame(() => { region.textContent = text; });
}

/** Calls `run` once the calls for it have paused. */
export function debounced(run, ms) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...args), ms);
  };
}
