// Questions to the model of a manifest: which rules are in force, what a segment stands for, who uses it.

const ANY_ENVIRONMENT = "_";

/** Adds the lookups that pages need. */
export function indexed(model) {
  const flags = new Map(model.flags.map((flag) => [flag.key, flag]));
  const segments = new Map(model.segments.map((segment) => [segment.key, segment]));
  return { ...model, byFlag: flags, bySegment: segments, uses: usesOf(model, segments) };
}

/** Puts the model of a few files into that of all. */
export function merged(old, part, paths) {
  const gone = new Set(paths);
  const keep = (list, folder) => list.filter((item) => !gone.has(`${folder}/${item.key}.toml`));
  const byKey = (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
  return {
    ...part,
    flags: [...keep(old.flags, "flags"), ...part.flags].sort(byKey),
    segments: [...keep(old.segments, "segments"), ...part.segments].sort(byKey),
  };
}

/** The environments to show: those declared, or those that any flag names; the catch-all last where it is real. */
export function environments(model) {
  if (model.environments) return model.environments.map((environment) => environment.name);
  const named = new Set();
  for (const flag of model.flags) for (const block of flag.environments) named.add(block.name);
  return [...named, ANY_ENVIRONMENT];
}

export function blockOf(flag, environment) {
  return flag.environments.find((block) => block.name === environment) ?? null;
}

/** What decides in an environment, in the order of resolution. */
export function inForce(flag, environment) {
  const own = environment === ANY_ENVIRONMENT ? null : blockOf(flag, environment);
  const declaresRules = Boolean(own?.rules);
  const declaresVariant = Boolean(own?.variant);
  const fromCatchAll = !declaresRules && !declaresVariant;
  return {
    own,
    declaresRules,
    declaresVariant,
    testing: declaresRules && own.testing,
    rules: fromCatchAll ? flag.catch_all.rules ?? [] : own.rules ?? [],
    rulesFrom: fromCatchAll ? ANY_ENVIRONMENT : environment,
    fallback: own?.variant ?? flag.catch_all.variant,
    fallbackFrom: declaresVariant ? environment : ANY_ENVIRONMENT,
    overrides: own !== null && !fromCatchAll,
  };
}

/** How a lever stands: `normal` gives one value to all, `reversed` looks at who asks. */
export function stance(flag, environment) {
  const { rules, testing } = inForce(flag, environment);
  if (rules.length === 0) return "normal";
  return testing ? "locked" : "reversed";
}

export function variantOf(flag, key) {
  return flag.variants.find((variant) => variant.key === key) ?? null;
}

/** The keys of the segments that a predicate names itself. */
export function namedSegments(predicate, found = []) {
  if (!predicate) return found;
  if (predicate.segment) found.push(predicate.segment);
  for (const part of predicate.all ?? predicate.any ?? []) namedSegments(part, found);
  if (predicate.not) namedSegments(predicate.not, found);
  return found;
}

/** The attributes that a predicate reads itself. */
export function namedAttributes(predicate, found = new Set()) {
  if (!predicate) return found;
  if (predicate.test) found.add(predicate.test.attribute);
  for (const part of predicate.all ?? predicate.any ?? []) namedAttributes(part, found);
  if (predicate.not) namedAttributes(predicate.not, found);
  return found;
}

export function blocksOf(flag) {
  return [...flag.environments, { ...flag.catch_all, name: ANY_ENVIRONMENT }];
}

function audienceSegments({ audience }) {
  return audience.segment ? [audience.segment] : namedSegments(audience.predicate);
}

/** Every segment that a flag's rules reach, through other segments as well. */
export function reached(model, flag, environment) {
  const blocks = environment === undefined ? blocksOf(flag) : [{ rules: inForce(flag, environment).rules }];
  const pending = blocks.flatMap((block) => (block.rules ?? []).flatMap(audienceSegments));
  const seen = new Set();
  while (pending.length > 0) {
    const key = pending.pop();
    if (seen.has(key)) continue;
    seen.add(key);
    pending.push(...namedSegments(model.bySegment.get(key)?.predicate));
  }
  return seen;
}

/** The attributes whose values decide about a flag in an environment. */
export function attributesOf(model, flag, environment) {
  const found = new Set();
  for (const rule of inForce(flag, environment).rules) namedAttributes(rule.audience.predicate, found);
  for (const key of reached(model, flag, environment)) {
    const segment = model.bySegment.get(key);
    namedAttributes(segment?.predicate, found);
    if (segment?.bucket) found.add(segment.bucket.entity_id_attribute);
  }
  return [...found].sort();
}

function usesOf(model, segments) {
  const uses = new Map([...segments.keys()].map((key) => [key, { flags: new Map(), segments: new Set() }]));
  for (const segment of model.segments) {
    for (const key of namedSegments(segment.predicate)) uses.get(key)?.segments.add(segment.key);
  }
  for (const flag of model.flags) {
    for (const block of blocksOf(flag)) {
      for (const rule of block.rules ?? []) {
        for (const key of audienceSegments(rule)) {
          const of = uses.get(key)?.flags;
          if (!of) continue;
          if (!of.has(flag.key)) of.set(flag.key, new Set());
          of.get(flag.key).add(block.name);
        }
      }
    }
  }
  return uses;
}

/** The flags that are not what they were, themselves or through a segment. */
export function changedFlags(before, after) {
  const same = (a, b) => a !== undefined && (a === b || JSON.stringify(a) === JSON.stringify(b));
  const segments = new Set();
  for (const segment of after.segments) {
    if (!same(before.bySegment.get(segment.key), segment)) segments.add(segment.key);
  }
  const changed = [];
  for (const flag of after.flags) {
    const differs = !same(before.byFlag.get(flag.key), flag);
    if (differs || (segments.size > 0 && [...reached(after, flag)].some((key) => segments.has(key)))) changed.push(flag.key);
  }
  return changed;
}

/** How the type of an inferred attribute is told to people. */
export const TYPE_WORDS = { string: "text", bool: "yes or no", int: "whole number", float: "number", str_list: "list of texts" };
