// One flag: what it is, and what it does in each environment.

import { h } from "../dom.js";
import { attributesOf, blockOf, environments, stance, TYPE_WORDS, variantOf } from "../model.js";
import { namespacePath, to } from "../route.js";
import { chip, code, lever, lifecycle, STANCE_WORDS, typeWord } from "../ui.js";
import { rulesIn } from "../parts/rules.js";

export function flagView(flag, scene) {
  const { tenant, namespace, model, environment } = scene;
  return h("article.flag", { data: { key: `flag ${flag.key}` } },
    h("a.back", { href: to(namespacePath(tenant, namespace, "flags")) }, "← All flags"),
    h("header.flag-head",
      h("h2", { tabindex: "-1", id: "flag-title" }, flag.key),
      h("div.flag-facts", typeWord(flag.type), lifecycle(flag.lifecycle),
        flag.owner ? h("span", "owner ", h("strong", flag.owner)) : h("span.quiet", "no owner"),
        flag.tags.map((tag) => chip(tag, "tag"))),
      h("p.flag-text", { class: flag.description ? null : "quiet" }, flag.description || "No description.")),
    h("section", { "aria-labelledby": "variants-title" }, h("h3", { id: "variants-title" }, "Variants"), variants(flag)),
    h("section", { "aria-labelledby": "frame-title" },
      h("h3", { id: "frame-title" }, "Environments"),
      frame(flag, scene),
      h("div.frame-panel", { role: "tabpanel", id: "env-panel", "aria-labelledby": `env-${environment}`, tabindex: "0" },
        rulesIn(flag, environment, scene),
        attributes(flag, scene),
        h("p", h("a.button", { href: to(namespacePath(tenant, namespace, "try"), { flag: flag.key, env: environment }) }, "Try it with a context")))),
    flag.private_attributes.length > 0 && h("p.quiet", "Never recorded: ", flag.private_attributes.map((name) => [code(name), " "])));
}

function variants(flag) {
  return h("dl.variants", flag.variants.map((variant) => [
    h("dt", variant.key),
    h("dd", variant.text.includes("\n") || variant.text.length > 60
      ? h("details", { data: { key: `variant ${variant.key}` } }, h("summary", h("code", `${variant.text.replace(/\s+/g, " ").slice(0, 60)}…`)), h("pre", pretty(flag, variant)))
      : h("code", flag.type === "string" ? `“${variant.text}”` : variant.text)),
  ]));
}

function pretty(flag, variant) {
  return flag.type === "json" ? JSON.stringify(variant.value, null, 2) : variant.text;
}

/** The environments as a row of levers, which are tabs: arrows move, the panel follows. */
function frame(flag, { model, environment, choose }) {
  const names = environments(model);
  const tab = (name) => {
    const standing = stance(flag, name);
    const declared = model.environments?.find((one) => one.name === name);
    const title = declared?.display_name ?? (name === "_" ? "any other" : name);
    return h("button.frame-lever", {
      type: "button", role: "tab", id: `env-${name}`, "aria-selected": String(name === environment), "aria-controls": "env-panel",
      tabindex: name === environment ? "0" : "-1", title: `${name}: ${STANCE_WORDS[standing]}`, onclick: () => choose(name),
    },
    lever(standing, flag.type),
    h("span.frame-plate", title), h("span.frame-gives", gives(flag, name)),
    declared?.public_evaluate && h("span.frame-public", "public"),
    h("span.unseen", `, ${STANCE_WORDS[standing]}`));
  };
  const row = h("div.frame", { role: "tablist", "aria-label": "Environments" }, names.map(tab));
  row.addEventListener("keydown", (event) => {
    const at = names.indexOf(environment);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const name = names[(next + names.length) % names.length];
    choose(name);
    document.getElementById(`env-${name}`)?.focus();
  });
  return row;
}

function gives(flag, name) {
  const key = (name === "_" ? null : blockOf(flag, name)?.variant) ?? flag.catch_all.variant;
  return variantOf(flag, key) ? key : "–";
}

function attributes(flag, { model, environment }) {
  const names = attributesOf(model, flag, environment);
  if (names.length === 0) return null;
  const types = new Map(model.attributes.map((attribute) => [attribute.name, attribute.type]));
  return h("p.attributes", h("span.quiet", "Looks at "), names.map((name, at) => [
    at > 0 && ", ", code(name), h("span.quiet", ` ${TYPE_WORDS[types.get(name)] ?? ""}`)]));
}
