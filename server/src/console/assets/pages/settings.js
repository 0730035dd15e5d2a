// Settings: what services are configured with, and the keys that they ask with.

import { all, api, Refusal } from "../api.js";
import { announce, debounced, h, morph, swap } from "../dom.js";
import { plural } from "../format.js";
import { entryForm } from "../parts/entry.js";
import { entryTables, KINDS } from "../parts/entries.js";
import { keysPart } from "../parts/keys.js";
import { poll } from "../parts/poll.js";
import { go, namespacePath, to } from "../route.js";
import { session } from "../session.js";
import { chip, code, confirmed, copyButton, empty, failed, field, fill, form, heading, loading, select, sentence, table, time } from "../ui.js";

const EVERY_MS = 2000;
/** An answer that takes longer is a failure; the next look is not held up by it. */
const PATIENCE_MS = 10_000;
/** A value that somebody forgot to hide is hidden. */
const SHOWN_MS = 60_000;
const KIND_WORDS = { backend: "backend", frontend: "frontend, without secrets", umbrella: "umbrella: others inherit from it" };

export function settingsPage({ tenant, namespace, rest, signal }) {
  const [environment] = rest;
  return environment === undefined
    ? environmentsPage({ tenant, namespace }, signal)
    : environmentPage({ tenant, namespace, environment }, signal);
}

const pathOf = ({ tenant, namespace, environment }) => namespacePath(tenant, namespace, "settings", ...(environment ? [environment] : []));

/** Every environment of the namespace. */
function environmentsPage(at, signal) {
  const place = h("div");
  fill(place, "environments", () => all((part) => api.environments(at, { ...part, signal })), (found) => (found.length === 0
    ? empty("No service has settings here yet.", firstKey(at))
    : [h("p.count", plural(found.length, "environment")), h("ul.cards", found.map((one) => card(at, one)))]), signal);
  const may = session.may("settings.write", at.tenant, at.namespace);
  return { node: h("div.page", heading("Settings"), place, may && createForm(at)) };
}

function card(at, service) {
  return h("li.card", { data: { key: service.environment } },
    h("a.card-link", { href: to(pathOf({ ...at, environment: service.environment })) }, h("span.card-title", service.environment)),
    h("p.card-text", KIND_WORDS[service.kind] ?? service.kind),
    h("p.card-foot", code(service.slug), service.inherits && h("span.quiet", `inherits from ${umbrella(service)}`), states(service)));
}

const umbrella = ({ inherits }) => `${inherits.namespace}/${inherits.environment}`;

function states(service) {
  return [service.quarantine && chip(`quarantined: ${service.quarantine.reason}`, "bad"), service.billing_overdue && chip("billing overdue", "bad")];
}

function firstKey({ tenant, namespace }) {
  return h("p", "An operator makes the first key, and what it is for: ",
    code(`leverframe admin settings-key create --tenant ${tenant} --namespace ${namespace} --environment production --kind backend --type sk`));
}

function createForm(at) {
  return h("details.drawer", { data: { key: "create" } }, h("summary", "Create an environment"),
    form({ id: "environment-create" }, async (data) => {
      const environment = data.get("environment").trim();
      const body = { kind: data.get("kind"), if_revision: 0 };
      if (data.get("slug").trim()) body.slug = data.get("slug").trim();
      const [namespace, of, more] = data.get("inherits").trim().split("/");
      if (namespace && (!of || more !== undefined)) throw new Refusal(0, "form", "what it inherits from is written as namespace/environment");
      if (namespace) body.inherits = { namespace, environment: of };
      await api.putEnvironment({ ...at, environment }, body);
      announce(`${environment} is created.`);
      go(pathOf({ ...at, environment }));
    },
    h("div.fields",
      field("Environment", h("input.mono", { name: "environment", required: true, maxlength: "63", autocomplete: "off", spellcheck: "false" })),
      field("Kind", select(Object.entries(KIND_WORDS), "backend", { name: "kind" }), "never another one afterwards"),
      field("Host name begins with", h("input.mono", { name: "slug", maxlength: "63", autocomplete: "off", spellcheck: "false" }), "of its name if left empty"),
      field("Inherits from", h("input.mono", { name: "inherits", autocomplete: "off", spellcheck: "false", placeholder: "namespace/environment" }), "an umbrella, or nothing")),
    h("div.actions", h("button.primary", { type: "submit" }, "Create environment"))));
}

/** One environment, looked at every other second. */
function environmentPage(at, signal) {
  const may = session.may("settings.write", at.tenant, at.namespace);
  const mayRead = session.may("secret.read", at.tenant, at.namespace);
  const state = h("span", { id: "settings-state", role: "status" }, "Connecting");
  const lamp = h("p.gate-live.settings-lamp", h("span.gate-lamp", { "aria-hidden": "true" }), state);
  const trouble = h("div", { id: "settings-trouble" });
  const shown = h("div", { id: "settings-shown" });
  const search = h("input", { type: "search", id: "settings-search", placeholder: "part of a key" });
  const body = h("div.settings");
  const actions = { edit: (kind, key) => entry.edit(kind, key), remove, reveal, versions };
  const tables = entryTables({ may, mayRead, actions });
  const keys = keysPart({ at, may, mayRead, signal, changed: () => reading.now(), trouble });
  const entry = may ? entryForm({ at, held: (kind, key) => held(kind, key), saved: () => reading.now() }) : null;
  let have = null;
  let failure = null;
  let hiding = 0;

  const held = (kind, key) => have?.[kind].find((one) => one.key === key);

  async function read() {
    const patient = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
    try {
      // Asked before the lists are: what is written in between is seen at the next look.
      const [service, revision, made] = await Promise.all([
        api.environment(at, patient), api.settingsRevision(at, patient), all((part) => api.settingsKeys(at, { ...part, signal: patient })),
      ]);
      const lists = have?.revision === revision ? have : await everything(patient);
      if (signal.aborted) return;
      tell(have, lists);
      have = { ...lists, service, revision, keys: made };
      failure = null;
    } catch (error) {
      if (signal.aborted) return;
      failure = error instanceof Refusal ? error : new Refusal(0, "late", `no answer came within ${PATIENCE_MS / 1000} seconds`);
    }
    draw();
  }

  async function everything(patient) {
    const lists = await Promise.all(KINDS.map(([kind]) => all((part) => api.entries(at, kind, { ...part, signal: patient }))));
    return Object.fromEntries(KINDS.map(([kind], index) => [kind, lists[index]]));
  }

  function draw() {
    const text = failure ? `Not refreshed: ${failure.message}. Trying again.` : "Live";
    // The same words are not said again every other second.
    if (state.textContent !== text) state.textContent = text;
    lamp.classList.toggle("gate-lost", failure !== null);
    if (!have) {
      if (failure.status === 404) swap(body, empty("No such environment here.", firstKey(at)));
      else swap(body, failed(failure, () => { swap(body, loading("settings")); reading.now(); }));
      return;
    }
    const { service } = have;
    entry?.refresh(service);
    keys.refresh(service);
    if (entry) entry.node.hidden = false;
    const wanted = search.value.trim().toLowerCase();
    morph(body, facts(service), tables(have, wanted), keys.table(have.keys));
  }
  search.addEventListener("input", debounced(() => { if (have) draw(); }, 60));

  function facts(service) {
    const fact = (name, ...of) => h("div.fact", h("dt", name), h("dd", of));
    return h("dl.facts", { data: { key: "facts" } },
      fact("Kind", KIND_WORDS[service.kind] ?? service.kind),
      service.kind !== "umbrella" && fact("Asked at the host", code(`${service.slug}.…`)),
      service.inherits && fact("Inherits from", h("a", { href: to(namespacePath(at.tenant, service.inherits.namespace, "settings", service.inherits.environment)) }, umbrella(service))),
      fact("Flags by user", service.ab_enabled ? "evaluated" : "off"),
      service.trusts.length > 0 && fact("Trusts", plural(service.trusts.length, "workload")),
      fact("Changed", time(service.updated_at)),
      states(service).some(Boolean) && fact("State", states(service)));
  }

  async function remove(kind, key) {
    const one = held(kind, key);
    if (!one) return;
    const yes = await confirmed({
      title: `Delete ${key}?`,
      body: h("p", kind === "secrets" ? "Every version of it goes. Services that ask for it do not get it any more. This cannot be undone." : "Services that ask for it do not get it any more."),
      action: "Delete", danger: true,
    });
    if (yes) await act(() => api.deleteEntry(at, kind, key, one.version), `${key} is deleted.`);
  }

  async function act(request, said) {
    if (signal.aborted) return;
    try {
      await request();
      swap(trouble);
      announce(said);
      reading.now();
    } catch (error) {
      if (!signal.aborted) swap(trouble, h("p.notice.notice-bad", { role: "alert" }, sentence(error.message)));
    }
  }

  function hide(said = "The value is hidden.") {
    clearTimeout(hiding);
    if (!shown.querySelector("#secret-value")) return;
    swap(shown);
    announce(said);
  }

  /** Shows one value, until it is hidden, the page is left or not seen, or a minute has gone by. */
  async function reveal(key, version) {
    hide("");
    try {
      const { secret, value } = await api.secretValue(at, key, version ?? held("secrets", key)?.version, signal);
      if (signal.aborted || document.hidden) return;
      const text = h("pre.secret-shown.settings-shown", { id: "secret-value", tabindex: "0", "aria-label": `The value of ${key}` }, value);
      swap(shown, h("section.issued", { "aria-labelledby": "shown-title" },
        h("h2", { id: "shown-title", tabindex: "-1" }, `${key}, version ${secret.version}`),
        h("p", "That it was shown is in the audit log."), text,
        h("div.actions", copyButton(() => value, "Copy value", () => text),
          h("button.small", { type: "button", id: "hide-value", onclick: () => hide() }, "Hide it"))));
      document.getElementById("shown-title")?.focus();
      clearTimeout(hiding);
      hiding = setTimeout(hide, SHOWN_MS);
    } catch (error) {
      if (!signal.aborted) swap(trouble, h("p.notice.notice-bad", { role: "alert" }, sentence(error.message)));
    }
  }

  async function versions(key) {
    hide("");
    const place = h("div");
    const list = () => fill(place, "versions", () => api.secretVersions(at, key, signal), (found) => table(`Versions of ${key}`, ["Version", "Written", "By", "What to do"], found.map((one) => h("tr", { data: { key: `v${one.version}` } },
      h("th", { scope: "row" }, `${one.version}`), h("td", time(one.updated_at)), h("td", code(one.updated_by || "the command line")),
      h("td.row-actions",
        mayRead && h("button.small", { type: "button", "aria-label": `Show version ${one.version} of ${key}`, onclick: () => reveal(key, one.version) }, "Show"),
        may && h("button.small", { type: "button", "aria-label": `Delete version ${one.version} of ${key}`, onclick: () => drop(key, one.version) }, "Delete"))))), signal);
    swap(shown, h("section.issued", { "aria-labelledby": "shown-title" }, h("h2", { id: "shown-title", tabindex: "-1" }, `Versions of ${key}`), place,
      h("button.small", { type: "button", id: "hide-versions", onclick: () => swap(shown) }, "Close")));
    document.getElementById("shown-title")?.focus();
    await list();
  }

  async function drop(key, version) {
    const yes = await confirmed({
      title: `Delete version ${version} of ${key}?`, action: "Delete", danger: true,
      body: h("p", "If it is the newest one, the one before it is handed out. This cannot be undone."),
    });
    if (!yes) return;
    await act(() => api.deleteSecretVersion(at, key, version), `Version ${version} is deleted.`);
    if (!signal.aborted) swap(shown);
  }

  const unseen = () => { if (document.hidden) hide(""); };
  document.addEventListener("visibilitychange", unseen);
  swap(body, loading("settings"));
  if (entry) entry.node.hidden = true;
  const reading = poll(read, EVERY_MS);
  return {
    node: h("div.page", heading(`Settings of ${at.environment}`, lamp), trouble, shown, entry?.node, h("div.toolbar", field("Search", search)), body, keys.form),
    stop() {
      reading.stop();
      hide("");
      document.removeEventListener("visibilitychange", unseen);
    },
  };
}

/** Says what changed by itself to people who cannot see it. */
function tell(before, now) {
  if (!before || before === now) return;
  const changed = KINDS.flatMap(([kind]) => {
    const known = new Map(before[kind].map(({ key, version }) => [key, version]));
    const news = now[kind].filter(({ key, version }) => known.get(key) !== version).map(({ key }) => key);
    const left = new Set(now[kind].map(({ key }) => key));
    return [...news, ...[...known.keys()].filter((key) => !left.has(key))];
  });
  if (changed.length > 0) announce(`${plural(changed.length, "setting")} changed: ${changed.slice(0, 5).join(", ")}${changed.length > 5 ? " and more" : ""}.`);
}
