// Times, sizes and shares as people read them.

const MINUTE = 60, HOUR = 3600, DAY = 86400;
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** `5 minutes ago`; `at` is a timestamp of the server. */
export function ago(at, now = Date.now()) {
  const then = Date.parse(at);
  if (Number.isNaN(then)) return "at an unknown time";
  const seconds = Math.round((then - now) / 1000);
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  if (size < MINUTE) return RELATIVE.format(seconds, "second");
  if (size < HOUR) return RELATIVE.format(Math.round(seconds / MINUTE), "minute");
  if (size < DAY) return RELATIVE.format(Math.round(seconds / HOUR), "hour");
  if (size < 45 * DAY) return RELATIVE.format(Math.round(seconds / DAY), "day");
  return MOMENT.format(then).split(",")[0];
}

/** The whole date and time, for titles. */
export function moment(at) {
  const then = Date.parse(at);
  return Number.isNaN(then) ? String(at ?? "") : MOMENT.format(then);
}

/** `1.2 KiB` */
export function bytes(count) {
  if (!Number.isFinite(count)) return "–";
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${(count / 1024).toFixed(1)} KiB`;
  return `${(count / 1024 / 1024).toFixed(1)} MiB`;
}

/** `1 flag`, `2 flags` */
export function plural(count, word) {
  return `${number(count)} ${word}${count === 1 ? "" : "s"}`;
}

export function number(count) {
  return Number(count ?? 0).toLocaleString("en");
}

/** A share of the 10,000 buckets: `33%`, `0.25%`. */
export function percent(buckets) {
  return `${Number((buckets / 100).toFixed(2))}%`;
}

/** `0.4`, `12.5`, `1,200`: as many digits as say something. */
export function amount(value) {
  if (!Number.isFinite(value)) return "–";
  const digits = Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

/** `12.5 ms`, `1.2 s` */
export function milliseconds(value) {
  if (!Number.isFinite(value)) return "–";
  return value >= 1000 ? `${amount(value / 1000)} s` : `${amount(value)} ms`;
}
