// A site of a fleet: who reports, what they were asked for and what they refused, and the rules.

import { h } from "../dom.js";
import { amount, milliseconds, number, plural } from "../format.js";
import { chip, code, table, time } from "../ui.js";

/** As many tags of a site as are drawn: the busiest. */
const MOST_TAGS = 40;
/** Latencies are drawn from one millisecond to ten seconds, each power of ten as wide as the others. */
const DECADES = 4;

/** How long a policy holds where nobody has said so, in seconds: long enough for two late reports in a row. */
const usualLease = (interval) => Math.max(300, Math.ceil((3 * (interval ?? 5000)) / 1000));

/** What is set, in words. */
export function settingsLine(settings) {
  const limits = Object.entries(settings.tag_max_weights ?? {}).sort(([a], [b]) => a.localeCompare(b));
  const fact = (name, value) => h("div.fact", h("dt", name), h("dd", value));
  return [
    h("dl.facts",
      fact("Kill switch", settings.kill_signal ? chip("every call is refused", "bad") : "off"),
      fact("Heaviest call", limitText(settings.global_max_weight) ?? "no limit"),
      limits.length > 0 && fact("By tag", h("span.tag-limits", limits.slice(0, 12).map(([tag, limit]) => h("span", code(tagName(tag)), " ", limitText(limit))), limits.length > 12 && h("span.quiet", `and ${limits.length - 12} more`))),
      fact("Policy holds", settings.lease_duration_seconds ? `${number(settings.lease_duration_seconds)} s` : `${number(usualLease(settings.pulse_interval))} s (default)`),
      fact("Reports every", settings.pulse_interval ? milliseconds(settings.pulse_interval) : "5 s (default)"),
      settings.status && fact("Status", settings.status)),
    settings.revision > 0 && h("p.quiet", `Revision ${settings.revision}, set `, time(settings.updated_at), settings.updated_by && [" by ", code(settings.updated_by)]),
  ];
}

/** A site; `lever` is what turns it off. */
export function fleet(site, now, lever) {
  const seconds = site.window_secs > 0 ? site.window_secs : 60;
  const calls = sum(site.tags, "calls"), denied = sum(site.tags, "denied"), errors = sum(site.tags, "errors");
  const inForce = site.rules.filter((rule) => rule.in_force).length;
  return h("section.site", { data: { key: `site ${site.site}` }, "aria-label": `Site ${site.site}` },
    h("header.site-head", h("h2", "Site ", code(site.site)), lever),
    h("dl.facts",
      tile("Instances", number(site.instances), site.last_pulse_at ? ["last report ", time(site.last_pulse_at)] : "no report yet"),
      tile("Calls", `${amount(calls / seconds)}/s`, `over the last ${seconds} s`),
      tile("Refused", share(denied, calls), `${number(denied)} calls`, denied > 0),
      tile("Errors", number(errors), `over the last ${seconds} s`, errors > 0),
      tile("Rules in force", `${inForce} of ${site.rules.length}`, site.rules.length === 0 ? "none is written" : null, inForce > 0)),
    site.policy?.killSignal && h("p.notice.notice-bad", { data: { key: "killed" } }, h("strong", "Every call is refused"), " at this site."),
    site.settings && h("p.quiet", { data: { key: "own" } }, "This site has settings of its own: ", ownWords(site.settings)),
    tagTable(site, seconds),
    site.rules.length > 0 && h("div.rules-box", { data: { key: "rules" } }, h("h3", "Rules"), h("ul.reflexes", site.rules.map((rule) => reflex(rule, now)))),
    site.totals && h("p.quiet", { data: { key: "totals" } }, `Since ever ${plural(site.totals.calls, "call")}, of them ${number(site.totals.denied)} refused, and ${plural(site.totals.errors, "error")}, in ${plural(site.totals.pulses, "report")}.`));
}

function tile(name, value, more, marked = false) {
  return h("div.fact.tile", h("dt", name), h("dd", { class: marked ? "tile-marked" : null }, value), more && h("dd.quiet", more));
}

function ownWords(settings) {
  const words = [];
  if (settings.kill_signal) words.push("kill switch on");
  if (settings.global_max_weight !== null) words.push(`heaviest call ${limitText(settings.global_max_weight)}`);
  for (const [tag, limit] of Object.entries(settings.tag_max_weights ?? {}).slice(0, 12)) words.push(`${tagName(tag)} ${limitText(limit)}`);
  if (settings.status) words.push(`“${settings.status}”`);
  return words.length > 0 ? `${words.join(", ")}.` : "none that limits.";
}

function tagTable(site, seconds) {
  const busiest = [...site.tags].sort((a, b) => b.calls - a.calls).slice(0, MOST_TAGS);
  const limited = new Set([...Object.keys(site.policy?.tagMaxWeights ?? {}), ...Object.keys(site.policy?.throttle ?? {})].filter((tag) => tag !== "*"));
  const idle = [...limited].filter((tag) => !site.tags.some((one) => one.tag === tag)).slice(0, MOST_TAGS)
    .map((tag) => ({ tag, calls: 0, denied: 0, errors: 0, max_weight: site.policy.tagMaxWeights?.[tag] ?? null, throttle: site.policy.throttle?.[tag] ?? null }));
  // By name, so that rows stay where they are while the numbers change.
  const rows = [...busiest, ...idle].sort((a, b) => tagName(a.tag).localeCompare(tagName(b.tag)));
  if (rows.length === 0) return h("p.quiet", { data: { key: "idle" } }, `No calls within the last ${seconds} s.`);
  const most = ceiling(Math.max(...rows.map((row) => row.calls / seconds)));
  const left = site.tags.length - busiest.length;
  return h("div", { data: { key: "tags" } },
    table(`Tags of site ${site.site}`, [`Tag`, ["Calls a second", "wide"], ["Refused", "num"], ["Errors", "num"], ["Latency, 95th percentile", "wide"], "Limit", "Own metrics"],
      rows.map((row) => tagRow(row, seconds, most))),
    left > 0 && h("p.quiet", `and ${plural(left, "tag")} with fewer calls`));
}

function tagRow(row, seconds, most) {
  const rate = row.calls / seconds;
  const refused = row.calls > 0 ? row.denied / row.calls : 0;
  return h("tr", { data: { key: `tag ${row.tag}` } },
    h("th", { scope: "row" }, code(tagName(row.tag))),
    h("td", h("span.load", h("span.load-track", { "aria-hidden": "true" },
      h("span.load-bar", { style: { "--wide": `${most > 0 ? (rate / most) * 100 : 0}%` } }, h("span.load-denied", { style: { "--wide": `${refused * 100}%` } }))),
    h("span.num", amount(rate)))),
    h("td.num", row.denied > 0 ? h("span.bad", share(row.denied, row.calls)) : "–"),
    h("td.num", row.errors > 0 ? h("span.bad", number(row.errors)) : "–"),
    h("td", latency(row)),
    h("td", limits(row)),
    h("td", customs(row.custom)));
}

function latency({ p50_latency: median, p95_latency: high, p99_latency: highest, latency: mean }) {
  if (!Number.isFinite(high)) return h("span.quiet", "–");
  const title = `mean ${milliseconds(mean)}, median ${milliseconds(median)}, 95th percentile ${milliseconds(high)}, 99th ${milliseconds(highest)}`;
  return h("span.load", { title },
    h("span.span-track", { "aria-hidden": "true" },
      h("span.span-bar", { style: { "--from": `${place(median)}%`, "--to": `${100 - place(highest)}%` } }),
      h("span.span-mark", { style: { "--at": `${place(high)}%` } })),
    h("span.num", milliseconds(high)), h("span.unseen", title));
}

function limits({ max_weight: weight, throttle }) {
  const parts = [];
  const text = limitText(weight);
  if (text) parts.push(weight < 0 ? chip(text, "bad") : text);
  if (Number.isFinite(throttle)) parts.push(chip(`${throttle}% refused`, "bad"));
  return parts.length > 0 ? parts.flatMap((part, at) => (at > 0 ? [" ", part] : [part])) : h("span.quiet", "–");
}

function customs(custom) {
  const all = Object.entries(custom ?? {});
  if (all.length === 0) return h("span.quiet", "–");
  return all.slice(0, 5).map(([name, of]) => h("span.custom", { title: `least ${amount(of.min)}, greatest ${amount(of.max)}, of ${number(of.count)}` }, code(name), ` ${of.count > 0 ? amount(of.sum / of.count) : "–"} `));
}

/** A rule: its value against the threshold, and why it is in force. */
function reflex(rule, now) {
  const { namespace, name, in_force: inForce, value, threshold, recover_below: recover, calm_since: calm } = rule;
  const unit = /latency$/.test(rule.metric) ? milliseconds : amount;
  const most = ceiling(Math.max(threshold * 1.5, recover ?? 0, value ?? 0));
  const at = (number) => `${most > 0 ? Math.min(100, Math.max(0, (number / most) * 100)) : 0}%`;
  return h("li.reflex", { data: { key: `rule ${namespace}/${name}` }, class: inForce ? "reflex-on" : null },
    h("p.reflex-head", h("strong", code(`${namespace}/${name}`)), inForce ? chip("in force", "bad") : chip("calm", "good"),
      inForce && rule.since && h("span.quiet", "since ", time(rule.since))),
    h("p", code(tagName(rule.tag)), `: ${rule.metric} ${rule.operator} ${unit(threshold)} over ${rule.window_secs} s → `, h("strong", action(rule.action))),
    h("div.meter", h("span.meter-track", { "aria-hidden": "true" },
      Number.isFinite(value) && h("span.meter-bar", { style: { "--wide": at(value) }, class: crosses(rule) ? "meter-over" : null }),
      h("span.meter-mark", { style: { "--at": at(threshold) } }),
      Number.isFinite(recover) && recover !== threshold && h("span.meter-mark.meter-recover", { style: { "--at": at(recover) } })),
    h("span", Number.isFinite(value) ? unit(value) : "no samples", h("span.quiet", ` of ${unit(threshold)}`))),
    inForce && rule.why && h("p", "Why: ", rule.why),
    inForce && h("p.quiet", calm ? `Calm for ${plural(Math.max(0, Math.round((now - Date.parse(calm)) / 1000)), "second")} of the ${rule.recover_after_secs} after which it ends.`
      : `Ends after ${plural(rule.recover_after_secs, "second")} on the calm side of ${unit(recover ?? threshold)}.`));
}

function crosses({ operator, value, threshold }) {
  return { ">": value > threshold, ">=": value >= threshold, "<": value < threshold, "<=": value <= threshold }[operator] ?? false;
}

function action({ kind, limit, percent } = {}) {
  if (kind === "block") return "refuse every call";
  if (kind === "limit_weight") return `refuse calls heavier than ${amount(limit)}`;
  if (kind === "throttle_percent") return `refuse ${percent}% of calls`;
  return kind ?? "unknown";
}

/** What stands for calls without a tag. */
export function tagName(tag) {
  if (tag === "__default__") return "(untagged)";
  if (tag === "*") return "(all calls)";
  return tag === "" ? "(unknown)" : tag;
}

/** A limit in words; `null` for none. Where a throttled tag has none, servers give the greatest number there is. */
function limitText(weight) {
  if (weight === null || weight === undefined || weight >= 1e300) return null;
  return weight < 0 ? "refused" : amount(weight);
}

function share(part, whole) {
  return whole > 0 ? `${((part / whole) * 100).toFixed(1)}%` : "–";
}

function sum(tags, key) {
  return tags.reduce((total, tag) => total + (tag[key] ?? 0), 0);
}

function place(ms) {
  return Math.min(100, Math.max(0, (Math.log10(Math.max(ms, 1)) / DECADES) * 100));
}

/** The next of 1, 2, 5, 10, …: a scale that does not move with every number. */
function ceiling(value) {
  if (!(value > 0)) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => value <= step * power * 1.000001) * power;
}
