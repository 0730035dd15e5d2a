// Draws rules so that they can be read: who, and what they get.

import { h } from "../dom.js";
import { chip, code, lever } from "../ui.js";
import { percent, number, plural } from "../format.js";
import { inForce, variantOf } from "../model.js";
import { namespacePath, to } from "../route.js";

const OPERATORS = {
  eq: "is", neq: "is set and is not", gt: "is more than", gte: "is at least", lt: "is less than", lte: "is at most",
  in: "is one of", not_in: "is set and is none of", contains: "contains", not_contains: "is set and does not contain",
  starts_with: "begins with", ends_with: "ends with", semver_eq: "is version", semver_gt: "is a version after",
  semver_gte: "is version … or later", semver_lt: "is a version before", semver_lte: "is version … or earlier",
  is_set: "is set", is_not_set: "is not set",
};

/** How deep segments open inside segments before they become links. */
const DEPTH = 6;

/** A test of one attribute, as a sentence with its values as chips. */
export function test({ attribute, op, operands }) {
  const chips = operands.map((operand) => chip(operandText(operand), `of-${operand.type}`));
  const words = OPERATORS[op] ?? op;
  const sentence = words.includes("…")
    ? [words.split("…")[0], chips, words.split("…")[1]]
    : [`${words} `, chips.flatMap((one, at) => (at === 0 ? [one] : [at === chips.length - 1 ? " or " : ", ", one]))];
  return h("span.test", code(attribute), " ", sentence);
}

function operandText({ type, text }) {
  return type === "string" ? `“${text}”` : text;
}

/** A predicate: tests as sentences, groups as indented lists that say whether all or any have to hold. */
export function predicate(node, scene, depth = 0) {
  if (node.test) return test(node.test);
  if (node.segment) return segmentLine(node.segment, scene, depth);
  if (node.not) return h("div.group", h("span.group-word", "not"), h("ul.parts", h("li", predicate(node.not, scene, depth))));
  const parts = node.all ?? node.any ?? [];
  if (parts.length === 1) return predicate(parts[0], scene, depth);
  return h(`div.group.group-${node.all ? "all" : "any"}`,
    h("span.group-word", node.all ? "all of" : "any of"),
    h("ul.parts", parts.map((part) => h("li", predicate(part, scene, depth)))));
}

/** A segment, closed to its name and opened to what it stands for. */
export function segmentLine(key, scene, depth = 0) {
  const segment = scene.model.bySegment.get(key);
  const link = h("a.segment-name", { href: to(namespacePath(scene.tenant, scene.namespace, "segments", key)) }, key);
  if (!segment || depth >= DEPTH) return h("span", "in segment ", link);
  return h("details.segment", { data: { key: `${scene.place ?? ""}/${depth}/${key}` }, open: scene.open },
    h("summary", "in segment ", h("span.segment-name", key), segment.bucket && h("span.quiet", ` · ${share(segment.bucket)}`)),
    h("div.segment-body", members(segment, { ...scene, place: `${scene.place ?? ""}/${key}` }, depth + 1), h("p.segment-more", link)));
}

/** What makes a member of a segment. */
export function members(segment, scene, depth = 0) {
  return [
    segment.description && h("p.quiet", segment.description),
    segment.predicate && h("div.line", predicate(segment.predicate, scene, depth)),
    segment.predicate && segment.bucket && h("div.group-word", "and"),
    segment.bucket && bucketBar(segment),
  ];
}

function share({ start, end }) {
  return percent(end - start + 1);
}

/** The 10,000 buckets as a bar, with the part that belongs filled. */
export function bucketBar({ key, bucket }) {
  const { start, end, entity_id_attribute: attribute, salt } = bucket;
  return h("div.bucket",
    h("div.bucket-words", h("strong", share(bucket)), " of all ", code(attribute),
      h("span.quiet", ` · buckets ${number(start)}–${number(end)} of 10,000, salt `, code(salt),
        salt === key && " (the segment’s key)")),
    h("div.bucket-bar", { role: "img", "aria-label": `${share(bucket)}: buckets ${start} to ${end} of 10,000` },
      h("span.bucket-fill", { style: { "--from": `${start / 100}%`, "--wide": `${Math.max((end - start + 1) / 100, 0.4)}%` } })),
    h("div.bucket-scale", { "aria-hidden": "true" }, h("span", "0"), h("span", "2,500"), h("span", "5,000"), h("span", "7,500"), h("span", "10,000")));
}

/** A variant by name, with its value where there is room. */
export function variant(flag, key, { value = true } = {}) {
  const found = variantOf(flag, key);
  const same = found && found.text === key;
  return h("span.variant", h("span.variant-key", key),
    value && found && !same && h("span.variant-value", { title: found.text }, short(found.text)));
}

function short(text, most = 40) {
  const flat = text.replace(/\s+/g, " ");
  return flat.length > most ? `${flat.slice(0, most)}…` : flat;
}

/** The rules of a flag in one environment, in the order in which they are tried. */
export function rulesIn(flag, environment, scene) {
  const force = inForce(flag, environment);
  const rows = force.rules.map((rule, index) => h("li.rule", { id: `rule-${index}`, class: force.testing ? "rule-gated" : null },
    h("div.rule-number", { title: `rule[${index}] of [flag.environments.${force.rulesFrom}]` }, `${index + 1}`),
    h("div.rule-body",
      rule.description && h("p.rule-why", rule.description),
      h("div.rule-who", h("span.rule-if", index === 0 ? "If " : "Else if "), audience(rule, { ...scene, place: `${environment}/${index}` })),
      h("div.rule-gets", h("span.rule-arrow", { "aria-hidden": "true" }, "→"), h("span.unseen", "gives "), variant(flag, rule.variant)))));
  return [
    force.testing && h("p.gate", lever("locked", flag.type),
      h("span", h("strong", "Testing gate. "), "These rules apply only to callers that opt in; everybody else passes on to the last line.")),
    origin(force, environment, flag),
    h("ol.rules", rows, h("li.rule.rule-last",
      h("div.rule-number", { "aria-hidden": "true" }, "·"),
      h("div.rule-body",
        h("div.rule-who", h("span.rule-if", rows.length === 0 ? "Everybody" : "Everybody else"),
          h("span.quiet", force.fallbackFrom === environment ? "" : " · from the catch-all")),
        h("div.rule-gets", h("span.rule-arrow", { "aria-hidden": "true" }, "→"), h("span.unseen", "gives "), variant(flag, force.fallback))))),
  ];
}

function audience(rule, scene) {
  return rule.audience.segment ? segmentLine(rule.audience.segment, scene) : predicate(rule.audience.predicate, scene);
}

function origin(force, environment, flag) {
  if (environment === "_") return h("p.origin", "The catch-all: what applies wherever an environment says nothing of its own.");
  if (!force.own || !force.overrides) return h("p.origin", `${environment} declares nothing of its own: the catch-all applies.`);
  const left = flag.catch_all.rules?.length ?? 0;
  if (force.declaresRules) {
    return h("p.origin", `${plural(force.rules.length, "rule")} of ${environment} itself.`,
      left > 0 && ` The catch-all’s ${plural(left, "rule")} ${left === 1 ? "is" : "are"} left aside.`);
  }
  return left > 0 ? h("p.origin", `${environment} names its own value, so the catch-all’s ${plural(left, "rule")} ${left === 1 ? "is" : "are"} left aside.`) : null;
}
