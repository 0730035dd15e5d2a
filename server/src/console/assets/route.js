// Addresses of the console: everything after `#`, so that a link opens the page it was copied from. No address holds a
// token or a context.

/** `#/t/acme/n/shop/flags/banner?env=production` → `{path: ["t", "acme", …], query}` */
export function here() {
  return parse(location.hash);
}

export function parse(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query ?? "") };
}

function decode(segment) {
  try { return decodeURIComponent(segment); } catch { return segment; }
}

/** Makes an address of segments and a query. */
export function to(segments, query = {}) {
  const path = segments.map((segment) => encodeURIComponent(segment)).join("/");
  const pairs = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(pairs).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

export function go(segments, query) {
  location.hash = to(segments, query);
}

/** Changes the query of the present address without a step back, for filters. */
export function refine(query) {
  const { path, query: old } = here();
  const next = Object.fromEntries(old);
  for (const [key, value] of Object.entries(query)) next[key] = value;
  history.replaceState(null, "", to(path, next));
}

/** The addresses of a namespace's pages. */
export function namespacePath(tenant, namespace, ...rest) {
  return ["t", tenant, "n", namespace, ...rest];
}
