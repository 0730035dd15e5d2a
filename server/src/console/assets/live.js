// Follows a namespace over the event stream and keeps its model. One stream per namespace, closed when it is left.
//
// What an event brings is not read in the browser: it says which files changed, and the model of just those is fetched.

import { api, Refusal } from "./api.js";
import { session } from "./session.js";
import { events } from "./sse.js";
import { indexed, merged, changedFlags } from "./model.js";

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
/** Three heartbeats: a connection that is silent for longer is dead, whatever the operating system says. */
const SILENCE_MS = 45_000;
/** Beyond this the whole model is asked for: the list of paths has to fit into an address. */
const MOST_PATHS = 40;

export class Live {
  #abort = new AbortController();
  #listeners = new Set();
  #etag = null;
  #loading = null;
  #again = false;

  constructor(tenant, namespace) {
    this.tenant = tenant;
    this.namespace = namespace;
    /** `live`, `connecting`, `reconnecting` or `off`. */
    this.state = "connecting";
    this.why = "";
    this.model = null;
    this.failure = null;
    /** When each flag was seen to change, by `performance.now()`. */
    this.changed = new Map();
    this.lastEventAt = null;
  }

  /** Loads the model and begins to follow. */
  start() {
    this.refresh();
    this.#follow();
    return this;
  }

  stop() {
    this.#abort.abort();
    this.#listeners.clear();
  }

  /** Calls `listener(kind, detail)` with `state` or `model`; gives what ends that. */
  on(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(kind, detail) {
    for (const listener of [...this.#listeners]) listener(kind, detail);
  }

  #turn(state, why = "") {
    if (this.state === state && this.why === why) return;
    this.state = state;
    this.why = why;
    this.#tell("state");
  }

  /**
   * Brings the model up to date. With a hint `{version, paths}` of what one version changed, only that is fetched; a
   * call that overlaps another one waits for it and then looks at everything.
   */
  refresh(hint) {
    if (this.#loading) {
      this.#again = true;
      return this.#loading;
    }
    this.#loading = this.#load(hint).finally(() => {
      this.#loading = null;
      const again = this.#again;
      this.#again = false;
      if (again && !this.#abort.signal.aborted) this.refresh();
    });
    return this.#loading;
  }

  async #load(hint) {
    const signal = this.#abort.signal;
    const before = this.model;
    try {
      let answer = null;
      let paths = null;
      if (hint && before && hint.version === before.version + 1 && hint.paths.length <= MOST_PATHS && !hint.paths.includes("namespace.toml")) {
        answer = await api.model(this.tenant, this.namespace, { etag: this.#etag, paths: hint.paths, signal });
        paths = hint.paths;
        // A part of any other version would leave out what that version changed elsewhere.
        if (answer && answer.model.version !== hint.version) answer = paths = null;
      }
      if (!paths) answer = await api.model(this.tenant, this.namespace, { etag: this.#etag, signal });
      const failed = this.failure !== null;
      this.failure = null;
      if (answer) {
        this.#etag = answer.etag;
        this.model = indexed(paths ? merged(before, answer.model, paths) : answer.model);
        const changed = before ? changedFlags(before, this.model) : [];
        const now = performance.now();
        for (const key of changed) this.changed.set(key, now);
        this.#tell("model", { before, changed });
      } else if (failed) {
        this.#tell("model", { before, changed: [] });
      }
    } catch (error) {
      if (signal.aborted) return;
      this.failure = error;
      // Before the first upload there is no manifest: a state, not a failure.
      if (error instanceof Refusal && error.status === 404) { this.model = null; this.#etag = null; }
      this.#tell("model", { before, changed: [] });
    }
  }

  async #follow() {
    const signal = this.#abort.signal;
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      const connection = new AbortController();
      const end = () => connection.abort();
      signal.addEventListener("abort", end);
      try {
        const position = this.model?.version;
        const response = await api.events(this.#query(), position ? { "last-event-id": String(position) } : {}, connection.signal);
        this.#turn("live");
        pause = FIRST_PAUSE_MS;
        await this.#read(response.body, connection);
        this.#turn("reconnecting", "the server ended the connection");
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refusal && error.status === 401) return this.#turn("off", "the token is not valid any more");
        if (error instanceof Refusal && (error.status === 403 || error.status === 404)) {
          return this.#turn("off", "this token may not follow the namespace");
        }
        if (error instanceof Refusal && error.status === 429) pause = LONGEST_PAUSE_MS;
        this.#turn("reconnecting", error instanceof Refusal ? error.message : "the connection was lost");
      } finally {
        signal.removeEventListener("abort", end);
        connection.abort();
      }
      // Half of it by chance, so that a server that comes back does not meet every console in the same moment.
      await wait(pause * (0.5 + Math.random() / 2), signal);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  #query() {
    const query = { ns: this.namespace };
    // A token of a tenant needs no tenant named; one of the installation does.
    if (!session.self?.tenant) query.tenant = this.tenant;
    return query;
  }

  async #read(body, connection) {
    let alarm = 0;
    const heard = () => {
      clearTimeout(alarm);
      alarm = setTimeout(() => connection.abort(), SILENCE_MS);
    };
    heard();
    try {
      for await (const event of events(body)) {
        heard();
        if (event) this.#apply(event);
      }
    } finally {
      clearTimeout(alarm);
    }
  }

  #apply({ event, data }) {
    if (event !== "version" && event !== "resync") return;
    let told;
    try { told = JSON.parse(data); } catch { return void this.refresh(); }
    this.lastEventAt = Date.now();
    if (this.model?.version === told.version) return;
    const inline = told.delivery === "inline";
    this.refresh(inline ? { version: told.version, paths: [...Object.keys(told.files ?? {}), ...(told.removed ?? [])] } : undefined);
  }
}

function wait(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      removeEventListener("online", done);
      resolve();
    }
    signal.addEventListener("abort", done);
    // A machine that is back on the network need not wait for the rest of the pause.
    addEventListener("online", done);
  });
}
