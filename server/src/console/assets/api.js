// Speaks to the server. Every page goes through here, so that a refusal looks the same everywhere.

import { session } from "./session.js";

const BASE = "api/v1";

/** A refusal of the server, or the lack of one: `status` 0 is a server that cannot be reached. */
export class Refusal extends Error {
  constructor(status, code, message, details = {}, requestId = "") {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
    this.requestId = requestId;
  }
}

/** Sends a request and gives the response; a refusal is thrown. A refused credential ends the session. */
export async function send(method, path, { query, body, raw, headers = {}, signal, as } = {}) {
  const authorization = as ? `Bearer ${as}` : session.authorization();
  const all = { ...headers };
  if (authorization) all.authorization = authorization;
  let payload = body;
  if (body !== undefined && !(body instanceof FormData)) {
    all["content-type"] = "application/json";
    payload = JSON.stringify(body);
  } else if (raw !== undefined) {
    // JSON that a person wrote: numbers stay what they are, however long.
    all["content-type"] = "application/json";
    payload = raw;
  }
  const text = new URLSearchParams(query ?? {}).toString();
  let response;
  try {
    response = await fetch(`${BASE}/${path}${text ? `?${text}` : ""}`, {
      method, headers: all, body: payload, signal,
      // Nothing of a namespace stays in the browser's cache, and no cookie is sent or taken.
      cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refusal(0, "unreachable", "the server cannot be reached");
  }
  if (response.ok || response.status === 304) return response;
  const refusal = await refusalOf(response);
  if (refusal.status === 401 && !as) session.close("The token is not valid any more. Log in with another one.");
  throw refusal;
}

async function refusalOf(response) {
  try {
    const { error, request_id: id } = await response.json();
    return new Refusal(response.status, error.code, error.message, error.details ?? {}, id ?? "");
  } catch {
    return new Refusal(response.status, "unreadable", `the server answered ${response.status}`);
  }
}

async function json(method, path, options) {
  return (await send(method, path, options)).json();
}

/** One part of a list: `{items, next}`. */
async function page(path, key, { query = {}, cursor, limit = 100, signal } = {}) {
  const asked = { ...query, limit: String(limit) };
  if (cursor) asked.cursor = cursor;
  const answer = await json("GET", path, { query: asked, signal });
  return { items: answer[key] ?? [], next: answer.next_cursor ?? null };
}

/** Reads a list to its end, within reason. */
export async function all(part, most = 20_000) {
  const items = [];
  let cursor = null;
  do {
    const { items: more, next } = await part({ cursor, limit: 500 });
    items.push(...more);
    cursor = next;
  } while (cursor && items.length < most);
  return items;
}

const ns = (tenant, namespace) =>
  `tenants/${encodeURIComponent(tenant)}/namespaces/${encodeURIComponent(namespace)}`;

/** An environment of the settings, or all of a namespace. */
const settingsOf = ({ tenant, namespace, environment }) =>
  `${ns(tenant, namespace)}/settings/environments${environment === undefined ? "" : `/${encodeURIComponent(environment)}`}`;

const entryOf = (at, kind, key) => `${settingsOf(at)}/${kind}/${encodeURIComponent(key)}`;

/** What must be current: a version, or 0 for none. */
const onto = (version) => (version === undefined ? {} : { "if-version": String(version) });

const gateOf = (org) => `gate/${encodeURIComponent(org)}`;

function archiveForm(file) {
  const form = new FormData();
  form.append("archive", file, "archive.tar.gz");
  return form;
}

export const api = {
  /** Asks who a token belongs to, before there is a session. */
  async whoami(token) { return (await json("GET", "tokens/self", { as: token })).token; },

  tenants: (part) => page("tenants", "tenants", part),
  createTenant: (body) => json("POST", "tenants", { body }),
  namespaces: (part) => page("namespaces", "namespaces", part),
  namespacesOf: (tenant, part) => page(`tenants/${encodeURIComponent(tenant)}/namespaces`, "namespaces", part),
  async namespace(tenant, namespace, signal) { return (await json("GET", ns(tenant, namespace), { signal })).namespace; },
  createNamespace: (tenant, body) => json("POST", `tenants/${encodeURIComponent(tenant)}/namespaces`, { body }),

  /** The typed model of the current manifest: `{etag, model}`, or `null` when it is still the one of `etag`. */
  async model(tenant, namespace, { etag, paths, signal } = {}) {
    const headers = etag ? { "if-none-match": etag } : {};
    const query = paths ? { paths: paths.join(",") } : {};
    const response = await send("GET", `${ns(tenant, namespace)}/manifest/model`, { headers, query, signal });
    if (response.status === 304) return null;
    return { etag: response.headers.get("etag"), model: await response.json() };
  },
  versions: (tenant, namespace, part) => page(`${ns(tenant, namespace)}/manifest/versions`, "versions", part),
  diff: (tenant, namespace, from, to, signal) =>
    json("GET", `${ns(tenant, namespace)}/manifest/diff`, { query: { from: String(from), to: String(to) }, signal }),
  rollback: (tenant, namespace, version, current) =>
    json("POST", `${ns(tenant, namespace)}/manifest/rollback`, { body: { version, if_version: current } }),
  lint: (tenant, namespace, file) => json("POST", `${ns(tenant, namespace)}/manifest/lint`, { body: archiveForm(file) }),
  upload: (tenant, namespace, file, current) =>
    json("PUT", `${ns(tenant, namespace)}/manifest`, { body: archiveForm(file), headers: { "if-version": String(current) } }),

  evaluate: (tenant, namespace, body, signal) => json("POST", `${ns(tenant, namespace)}/evaluate`, { body, signal }),
  evaluateAll: (tenant, namespace, body, signal) => json("POST", `${ns(tenant, namespace)}/evaluate/all`, { body, signal }),
  explain: (tenant, namespace, body, signal) => json("POST", `${ns(tenant, namespace)}/explain`, { body, signal }),
  clients: (tenant, namespace, signal) => json("GET", `${ns(tenant, namespace)}/clients`, { query: { limit: "500" }, signal }),

  tokens: (part) => page("tokens", "tokens", part),
  createToken: (body) => json("POST", "tokens", { body }),
  revokeToken: (id) => send("DELETE", `tokens/${encodeURIComponent(id)}`),
  gates: (part) => page("gate", "orgs", part),
  gate: (org, signal) => json("GET", gateOf(org), { signal }),
  setGate: (org, body) => json("PATCH", gateOf(org), { body }),

  environments: (at, part) => page(settingsOf(at), "environments", part),
  async environment(at, signal) { return (await json("GET", settingsOf(at), { signal })).environment; },
  putEnvironment: (at, body) => json("PUT", settingsOf(at), { body }),
  /** Counts the writes to everything that an environment has. */
  async settingsRevision(at, signal) { return (await json("GET", `${settingsOf(at)}/configs`, { query: { limit: "1" }, signal })).revision; },
  entries: (at, kind, part) => page(`${settingsOf(at)}/${kind}`, kind, part),
  putEntry: (at, kind, key, raw, version) => json("PUT", entryOf(at, kind, key), { raw, headers: onto(version) }),
  deleteEntry: (at, kind, key, version) => json("DELETE", entryOf(at, kind, key), { headers: onto(version) }),
  async secretVersions(at, key, signal) { return (await json("GET", `${entryOf(at, "secrets", key)}/versions`, { signal })).versions; },
  secretValue: (at, key, version, signal) => json("GET", `${entryOf(at, "secrets", key)}/value`, { query: { version: String(version) }, signal }),
  deleteSecretVersion: (at, key, version) => json("DELETE", entryOf(at, "secrets", key), { query: { version: String(version) } }),
  settingsKeys: (at, part) => page(`${settingsOf(at)}/keys`, "keys", part),
  createSettingsKey: (at, body) => json("POST", `${settingsOf(at)}/keys`, { body }),
  revokeSettingsKey: (at, id) => send("DELETE", `${settingsOf(at)}/keys/${encodeURIComponent(id)}`),
  audit: (tenant, part) => page(tenant ? `tenants/${encodeURIComponent(tenant)}/audit` : "audit", "events", part),

  events: (query, headers, signal) => send("GET", "events", { query, headers: { accept: "text/event-stream", ...headers }, signal }),
};

/** Where a page of the API is, for `curl`. */
export function address(tenant, namespace, page) {
  return `${new URL(BASE, document.baseURI).href}/${ns(tenant, namespace)}/${page}`;
}
