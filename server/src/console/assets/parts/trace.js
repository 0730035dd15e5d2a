// An answer and how it came about: each rule, what it asked, what it heard.

import { h } from "../dom.js";
import { chip, code } from "../ui.js";

const STATES = {
  matched: ["matches", "good"], not_matched: ["does not match", "plain"], mismatch: ["type mismatch", "bad"],
  not_reached: ["not reached", "dim"], testing: ["waits for testing", "dim"], overridden: ["left aside", "dim"],
};
const MARKS = { true: ["✓", "holds"], false: ["✗", "does not hold"], mismatch: ["!", "has another type"] };

/** The value, large. */
export function outcome({ result, error }) {
  if (!result || result.variant_key === null || result.variant_key === undefined) {
    return h("div.outcome.outcome-none",
      h("p.outcome-variant", "The caller’s default"),
      h("p", mismatchWords(result, error)));
  }
  const value = typeof result.value === "string" ? `“${result.value}”` : JSON.stringify(result.value, null, 1);
  return h("div.outcome",
    h("p.outcome-variant", result.variant_key),
    h("pre.outcome-value", value),
    h("p.quiet", because(result.rule_matched)));
}

function because(matched) {
  const found = /^rule:(\d+)$/.exec(matched ?? "");
  if (found) return `because rule ${Number(found[1]) + 1} matches`;
  return matched === "default" ? "because no rule matches" : matched ?? "";
}

function mismatchWords(result, error) {
  const found = result?.mismatch ?? error ?? {};
  if (found.attribute) return [code(found.attribute), ` is ${found.actual}; the manifest reads it as ${found.expected}. An evaluation never fails: the program gets the default that it named itself.`];
  if (found.code === "unknown_flag") return "There is no such flag.";
  return found.message ?? result?.rule_matched ?? "The evaluation ended without a variant.";
}

/** Rule by rule, with why not. */
export function trace(explained, scene) {
  const rules = explained.trace?.rules ?? [];
  const whys = new Map(explained.why.map((one) => [one.rule, one]));
  const flag = scene.model?.byFlag.get(explained.flag);
  return [
    h("section.trace", { "aria-labelledby": "trace-title" },
      h("h3", { id: "trace-title" }, "Rule by rule"),
      rules.length === 0
        ? h("p.quiet", "There are no rules here: everybody gets this.")
        : h("ol.trace-rules", rules.map((rule) => traceRule(rule, rule.state === "overridden" ? null : whys.get(rule.rule))))),
    nearest(explained, flag, scene),
  ];
}

function traceRule(rule, why) {
  const [word, tone] = STATES[rule.state] ?? [rule.state, "plain"];
  const number = Number(rule.rule.split(":")[1]) + 1;
  const steps = rule.steps ?? [];
  const reasons = why?.reasons ?? [];
  return h("li.trace-rule", { class: `trace-${rule.state}` },
    h("div.rule-number", `${number}`),
    h("div.rule-body",
      why?.description && h("p.rule-why", why.description),
      h("p.trace-head", h("span", rule.block === "environment" ? "" : h("span.quiet", "catch-all · ")), audienceWords(rule.audience), " → ", h("span.variant-key", rule.variant), " ", chip(word, tone)),
      steps.length > 1 && h("ul.steps", steps.map(step)),
      rule.state === "not_matched" && reasons.length > 0 && h("p.why-not", h("strong", "Why not: "), reasons.map((one, at) => [at > 0 && "; ", reasonWords(one)]))));
}

function step({ depth, text, result }) {
  const [mark, words] = MARKS[result] ?? ["·", result];
  return h("li.step", { class: `step-${result}`, style: { "--depth": String(Math.min(depth, 8)) } },
    h("span.step-mark", { "aria-hidden": "true" }, mark), h("span.step-text", audienceWords(text)), h("span.unseen", `: ${words}`));
}

/** What was found instead of what was asked for, and where. */
function reasonWords({ attribute, fact, actual, segment }) {
  const seen = actual === null || actual === undefined ? "it is absent" : ["it is ", code(JSON.stringify(actual))];
  return [audienceWords(fact), attribute && h("span.quiet", " (", seen, segment && [", asked by segment ", code(segment)], ")")];
}

function audienceWords(text) {
  return text.split(/(`[^`]*`)/).map((part) => (part.length > 1 && part.startsWith("`") ? code(part.slice(1, -1)) : part));
}

/** The smallest change of the context that gives another answer, any or a certain one. */
function nearest({ nearest: change, outcome: now, want }, flag, { take, wish }) {
  const others = (flag?.variants ?? []).map((variant) => variant.key).filter((key) => key !== now?.variant_key);
  const wanted = h("select", { id: "wanted" },
    h("option", { value: "" }, "anything else"), others.map((key) => h("option", { value: key, selected: key === want }, key)));
  wanted.addEventListener("change", () => wish(wanted.value));
  return h("section.nearest", { "aria-labelledby": "nearest-title" },
    h("h3", { id: "nearest-title" }, "What would change it"),
    others.length > 0 && h("div.field.field-line", h("label", { for: "wanted" }, "The shortest way to"), wanted),
    change
      ? [
        h("p", "The nearest context that gets ", h("span.variant-key", change.variant), ":"),
        h("ul.changes-near", change.steps.map((one) => h("li", stepWords(one)))),
        !change.exact && h("p.quiet", "There may be a shorter one."),
        h("p", h("button.small", { type: "button", id: "take-context", onclick: () => take(change.context) }, "Try that context")),
      ]
      : h("p.quiet", "There is none, or none was found in time."));
}

function stepWords(one) {
  const show = (value) => (value === null || value === undefined ? h("span.quiet", "absent") : code(JSON.stringify(value)));
  return [code(one.attribute), ": ", show(one.from), " → ", show(one.to), (one.buckets ?? []).length > 0 && h("span.quiet", ` (any id in ${one.buckets.join(", ")})`)];
}
