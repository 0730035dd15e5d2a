// The frame around the pages: who is logged in, where one is, what is live.

import { announce, h, swap } from "./dom.js";
import { Live } from "./live.js";
import { go, here, namespacePath, to } from "./route.js";
import { KIND_NAMES, session } from "./session.js";
import { empty } from "./ui.js";
import { plural } from "./format.js";
import { loginPage } from "./pages/login.js";
import { homePage } from "./pages/home.js";
import { tenantPage } from "./pages/tenant.js";
import { tokensPage } from "./pages/tokens.js";
import { auditPage } from "./pages/audit.js";
import { flagsPage } from "./pages/flags.js";
import { segmentsPage } from "./pages/segments.js";
import { historyPage } from "./pages/history.js";
import { uploadPage } from "./pages/upload.js";
import { tryPage } from "./pages/try.js";
import { clientsPage } from "./pages/clients.js";
import { gatePage, gatesPage } from "./pages/gate.js";
import { settingsPage } from "./pages/settings.js";

const app = document.getElementById("app");
const main = h("main", { id: "main", tabindex: "-1" });
const bar = h("div.board-live");
const crumbs = h("nav.crumbs", { "aria-label": "Where you are" });
const identity = h("div.identity");
const tabs = h("nav.tabs", { "aria-label": "Pages" });
const board = h("header.board",
  h("a.brand", { href: "#/", "aria-label": "Leverframe, all namespaces" }, brandMark(), h("span", "Leverframe")),
  crumbs, bar, identity);

/** Pages of a namespace: address, name, what a token must be able to do, and what makes the page. */
const SECTIONS = [
  ["flags", "Flags", "manifest.read", flagsPage],
  ["segments", "Segments", "manifest.read", segmentsPage],
  ["history", "History", "manifest.read", historyPage],
  ["upload", "Upload", "manifest.write", uploadPage],
  ["try", "Playground", "evaluate", tryPage],
  ["clients", "Clients", "clients.read", clientsPage],
  ["settings", "Settings", "settings.read", settingsPage],
];

let live = null;
let unlisten = null;
let current = null;
let wanted = "";

function brandMark() {
  return h("svg.brand-mark", { viewBox: "0 0 46 30", "aria-hidden": "true", focusable: "false" },
    h("path.brand-plate", { d: "M2 27.500h42" }),
    h("path.brand-arm", { d: "M8 26V5" }), h("path.brand-arm.brand-red", { d: "M18 26 22 6" }),
    h("path.brand-arm", { d: "M28 26V5" }), h("path.brand-arm", { d: "M38 26V5" }));
}

function route() {
  if (!session.isOpen) return;
  dismiss();
  const at = here();
  const scene = sceneOf(at);
  follow(scene);
  drawBoard(scene);
  const made = scene.make;
  if (current && current.id === scene.id && current.update) {
    current.update({ ...scene, signal: current.abort.signal });
    drawTitle(scene);
    return;
  }
  leave();
  const abort = new AbortController();
  const page = made({ ...scene, signal: abort.signal });
  current = { ...page, id: scene.id, abort };
  main.replaceChildren(page.node);
  drawTitle(scene);
  // The heading takes the focus, so that a screen reader begins where the page begins.
  const head = main.querySelector("h1");
  if (head) head.focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** A question that is open belongs to the page that asked it. */
function dismiss() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close("no");
}

function leave() {
  if (!current) return;
  current.abort.abort();
  current.stop?.();
  current = null;
}

function sceneOf({ path, query }) {
  const [root, tenant, third, namespace, section, ...rest] = path;
  const scene = { path, query, rest, go };
  const nowhere = () => ({ node: empty("There is no such page.", h("p", h("a", { href: "#/" }, "All namespaces"))) });
  if (root === undefined) return { ...scene, id: "home", make: homePage, title: "Namespaces" };
  if (root === "tokens") return { ...scene, id: "tokens", make: tokensPage, title: "Tokens", section: "tokens" };
  if (root === "audit") return { ...scene, id: "audit", make: auditPage, title: "Audit log", section: "audit" };
  if (root === "gate") return { ...scene, id: "gate", make: gatesPage, title: "Gate", section: "gate" };
  if (root !== "t" || tenant === undefined) return { ...scene, id: "nowhere", make: nowhere, title: "No such page" };
  if (third === undefined) return { ...scene, tenant, id: `t/${tenant}`, make: tenantPage, title: tenant };
  if (third === "tokens") return { ...scene, tenant, id: `t/${tenant}/tokens`, make: tokensPage, title: "Tokens", section: "tokens" };
  if (third === "audit") return { ...scene, tenant, id: `t/${tenant}/audit`, make: auditPage, title: "Audit log", section: "audit" };
  if (third === "gate") return { ...scene, tenant, id: `t/${tenant}/gate`, make: gatePage, title: "Gate", section: "gate" };
  if (third !== "n" || namespace === undefined) return { ...scene, id: "nowhere", make: nowhere, title: "No such page" };
  const known = SECTIONS.find(([name]) => name === (section ?? (session.may("manifest.read", tenant, namespace) ? "flags" : "try")));
  if (!known) return { ...scene, tenant, namespace, id: "nowhere", make: nowhere, title: "No such page" };
  const [name, title, , make] = known;
  return { ...scene, tenant, namespace, section: name, id: `${tenant}/${namespace}/${name}`, make, title };
}

/** Follows the namespace that is looked at, and no other. */
function follow(scene) {
  const { tenant, namespace } = scene;
  if (live && (live.tenant !== tenant || live.namespace !== namespace)) hush();
  if (!live && namespace && session.may("manifest.read", tenant, namespace)) {
    live = new Live(tenant, namespace);
    unlisten = live.on(heard);
    live.start();
  }
  scene.live = namespace ? live : null;
}

function hush() {
  unlisten?.();
  live?.stop();
  live = unlisten = null;
}

function heard(kind, detail) {
  if (kind === "state") {
    drawLive();
    if (live.state !== "live") announce(`Connection: ${live.state}. ${live.why}`);
    return;
  }
  drawLive();
  if (detail.before && live.model && detail.before.version !== live.model.version) {
    const { changed } = detail;
    const names = changed.slice(0, 5).join(", ");
    announce(`Version ${live.model.version} is current: ${plural(changed.length, "flag")} changed${changed.length > 0 ? `: ${names}${changed.length > 5 ? " and more" : ""}` : ""}.`);
  }
}

function drawTitle(scene) {
  const parts = [scene.rest[0], scene.title, scene.namespace ?? scene.tenant, "Leverframe"];
  document.title = [...new Set(parts.filter(Boolean))].join(" · ");
}

function drawBoard({ tenant, namespace, section }) {
  const self = session.self;
  swap(crumbs, h("ol",
    h("li", h("a", { href: "#/", "aria-current": tenant ? null : "page" }, "Namespaces")),
    tenant && h("li", h("a", { href: to(["t", tenant]) }, tenant)),
    namespace && h("li", h("a", { href: to(namespacePath(tenant, namespace)) }, namespace))));
  swap(identity,
    h("span.plate", { title: self.name ? `Token “${self.name}”` : "Token" }, KIND_NAMES[self.type] ?? self.type),
    h("button.small.onboard", { type: "button", id: "logout", onclick: () => session.close() }, "Log out"));
  swap(tabs, tabsOf(tenant, namespace, section));
  tabs.hidden = tabs.childElementCount === 0;
  drawLive();
}

function tabsOf(tenant, namespace, section) {
  const tab = (href, text, on) => h("a.tab", { href, "aria-current": on ? "page" : null }, text);
  if (namespace) {
    return SECTIONS.filter(([name, , permission]) => session.may(permission, tenant, namespace)
      || (name === "try" && session.may("evaluate.public", tenant, namespace)))
      .map(([name, title]) => tab(to(namespacePath(tenant, namespace, name)), title, name === section));
  }
  if (tenant && session.may("token.manage", tenant)) {
    return [tab(to(["t", tenant]), "Namespaces", !section), tab(to(["t", tenant, "gate"]), "Gate", section === "gate"), tab(to(["t", tenant, "tokens"]), "Tokens", section === "tokens"),
      tab(to(["t", tenant, "audit"]), "Audit log", section === "audit")];
  }
  if (!tenant && session.self.type === "superadmin") {
    return [tab("#/", "Namespaces", !section), tab("#/gate", "Gate", section === "gate"), tab("#/tokens", "Tokens", section === "tokens"), tab("#/audit", "Audit log", section === "audit")];
  }
  return [];
}

const LIVE_WORDS = { live: "Live", connecting: "Connecting", reconnecting: "Reconnecting", off: "Off" };

function drawLive() {
  if (!live) { bar.replaceChildren(); return; }
  const version = live.model ? `v${live.model.version}` : "";
  swap(bar, h("span.live", { class: `live-${live.state}`, title: live.why || "Changes show by themselves", id: "live-badge" },
    h("span.live-lamp", { "aria-hidden": "true" }), LIVE_WORDS[live.state], version && h("span.live-version", version)));
}

session.onChange((reason) => {
  if (session.isOpen) {
    swap(app, board, tabs, main);
    const self = session.self;
    if (wanted && wanted !== "#/") history.replaceState(null, "", wanted);
    else if (self.namespace) history.replaceState(null, "", to(namespacePath(self.tenant, self.namespace)));
    wanted = "";
    route();
    return;
  }
  dismiss();
  leave();
  hush();
  // Nothing that was seen stays in the page, and the next person begins at the beginning.
  for (const part of [main, bar, crumbs, identity, tabs]) part.replaceChildren();
  for (const region of ["polite", "assertive"]) document.getElementById(region).textContent = "";
  if (!reason) history.replaceState(null, "", "#/");
  else wanted = location.hash;
  showLogin(reason);
});

function showLogin(reason = "") {
  document.title = "Log in · Leverframe";
  swap(app, loginPage(brandMark(), reason));
  document.getElementById("token")?.focus();
}

addEventListener("hashchange", route);
document.getElementById("skip").addEventListener("click", (event) => {
  // The address after `#` is the page's, so the link moves the focus itself.
  event.preventDefault();
  document.getElementById("main")?.focus();
});
wanted = location.hash;
showLogin();
