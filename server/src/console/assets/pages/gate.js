// The gate: what a fleet does, what it may, and the levers that change it.

import { all, api, Refusal } from "../api.js";
import { announce, h, morph, swap } from "../dom.js";
import { milliseconds, plural } from "../format.js";
import { fleet, settingsLine } from "../parts/fleet.js";
import { limitsForm } from "../parts/limits.js";
import { poll } from "../parts/poll.js";
import { to } from "../route.js";
import { session } from "../session.js";
import { chip, code, confirmed, empty, failed, fill, heading, loading, sentence } from "../ui.js";

const EVERY_MS = 2000;
/** An answer that takes longer is a failure; the next look is not held up by it. */
const PATIENCE_MS = 10_000;

/** Every organisation that the token sees. */
export function gatesPage({ signal }) {
  const place = h("div");
  fill(place, "organisations", () => all((part) => api.gates({ ...part, signal })), (orgs) => (orgs.length === 0
    ? empty("Nobody uses the gate yet.", firstKey("acme"))
    : [h("p.count", plural(orgs.length, "organisation")), h("ul.cards", orgs.map(card))]), signal);
  return { node: h("div.page", heading("Gate"), place) };
}

function card({ org, sites, kill_signal: killed }) {
  return h("li.card", { data: { key: org } },
    h("a.card-link", { href: to(["t", org, "gate"]) }, h("span.card-title", org)),
    h("p.card-foot", h("span.quiet", plural(sites, "site")), killed && chip("every call is refused", "bad")));
}

function firstKey(org) {
  return h("p", "An operator makes the first key: ", code(`leverframe admin gate-key create --org ${org}`));
}

/** One organisation, looked at every other second. */
export function gatePage({ tenant: org, signal }) {
  const may = session.may("gate.write", org);
  const lever = h("button", { type: "button", id: "gate-kill", hidden: true, onclick: () => kill(null) });
  const state = h("span", { id: "gate-state", role: "status" }, "Connecting");
  const at = h("span.quiet", { id: "gate-at" });
  const lamp = h("p.gate-live", h("span.gate-lamp", { "aria-hidden": "true" }), state, at);
  const trouble = h("div", { id: "gate-trouble" });
  const body = h("div.fleet");
  const form = may ? limitsForm({ org, settingsOf, saved: () => reading.now() }) : null;
  let status = null;
  let failure = null;

  async function read() {
    try {
      const got = await api.gate(org, AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]));
      if (signal.aborted) return;
      tell(status, got);
      status = got;
      failure = null;
    } catch (error) {
      if (signal.aborted) return;
      failure = error instanceof Refusal ? error : new Refusal(0, "late", `no answer came within ${PATIENCE_MS / 1000} seconds`);
    }
    draw();
  }

  function draw() {
    drawState();
    if (!status) {
      if (failure.status === 404) swap(body, empty("No such organisation here.", firstKey(org)));
      else swap(body, failed(failure, () => { swap(body, loading("the gate")); reading.now(); }));
      return;
    }
    body.classList.toggle("fleet-stale", failure !== null);
    drawLever();
    form?.refresh(status);
    morph(body, summary(), status.sites.length === 0
      ? empty("No instance has reported yet.", firstKey(org))
      : status.sites.map((site) => fleet(site, Date.parse(status.now), may && siteLever(site))));
  }

  function drawState() {
    const text = failure ? `Not refreshed: ${failure.message}. Trying again.` : "Live";
    // The same words are not said again every other second.
    if (state.textContent !== text) state.textContent = text;
    lamp.classList.toggle("gate-lost", failure !== null);
    if (status) at.textContent = `as of ${new Date(status.now).toLocaleTimeString("en-GB")}`;
  }

  function summary() {
    const { settings } = status;
    return [
      settings.kill_signal && h("p.notice.notice-bad", { data: { key: "killed" } }, h("strong", "Every call is refused"), " at every site, because somebody pulled the kill switch."),
      h("div", { data: { key: "set" } }, settingsLine(settings)),
    ];
  }

  function drawLever() {
    const on = status.settings.kill_signal;
    lever.hidden = !may;
    lever.className = on ? "primary" : "danger";
    const text = on ? "Let calls pass again" : "Refuse every call";
    if (lever.textContent !== text) lever.textContent = text;
  }

  function siteLever({ site, settings }) {
    const on = settings?.kill_signal ?? false;
    return h("button.small", { type: "button", id: `gate-kill-${site}`, "aria-label": `${on ? "Let calls pass again" : "Refuse every call"} at site ${site}`, onclick: () => kill(site) },
      on ? "Let calls pass again" : "Refuse every call here");
  }

  /** What is set for the organisation, or for one of its sites. */
  function settingsOf(site) {
    const of = site ? status?.sites.find((one) => one.site === site)?.settings : status?.settings;
    return of ?? { revision: 0, global_max_weight: null, tag_max_weights: {}, kill_signal: false, status: null, lease_duration_seconds: null, pulse_interval: null };
  }

  async function kill(site) {
    const on = !settingsOf(site).kill_signal;
    const where = site ? `site ${site} of ${org}` : org;
    const within = milliseconds(status.sites.find((one) => !site || one.site === site)?.policy?.pulseInterval ?? 5000);
    const yes = await confirmed({
      title: on ? `Refuse every call of ${where}?` : `Let calls of ${where} pass again?`,
      body: h("p", on ? `Every instance refuses every call, of every tag, from its next report on: within about ${within}. It stays so until somebody takes it back.`
        : `Limits and rules decide again, from the next report of each instance on: within about ${within}.`),
      action: on ? "Refuse every call" : "Let calls pass", danger: on,
    });
    if (!yes || signal.aborted) return;
    try {
      await api.setGate(org, { kill_signal: on, ...(site ? { site } : {}) });
      swap(trouble);
      announce(on ? `Every call of ${where} is refused.` : `Limits decide again for ${where}.`);
      reading.now();
    } catch (error) {
      if (!signal.aborted) swap(trouble, h("p.notice.notice-bad", { role: "alert" }, sentence(error.message)));
    }
  }

  swap(body, loading("the gate"));
  const reading = poll(read, EVERY_MS);
  return {
    node: h("div.page", heading(`Gate of ${org}`, lever), lamp, trouble, form?.node, body),
    stop() { reading.stop(); },
  };
}

/** Says what changed by itself to people who cannot see it. */
function tell(before, now) {
  if (!before) return;
  const known = new Map(before.sites.flatMap(({ site, rules }) => rules.map((rule) => [`${site} ${rule.namespace}/${rule.name}`, rule.in_force])));
  for (const { site, rules } of now.sites) {
    for (const rule of rules) {
      if (known.get(`${site} ${rule.namespace}/${rule.name}`) === rule.in_force) continue;
      if (rule.in_force) announce(`Rule ${rule.name} is in force at site ${site}: ${rule.why ?? ""}`, true);
      else if (known.has(`${site} ${rule.namespace}/${rule.name}`)) announce(`Rule ${rule.name} is not in force any more at site ${site}.`);
    }
  }
}
