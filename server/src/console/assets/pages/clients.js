// Who is connected, and how far behind.

import { api } from "../api.js";
import { h, swap } from "../dom.js";
import { plural } from "../format.js";
import { poll } from "../parts/poll.js";
import { chip, empty, failed, heading, loading, table, time } from "../ui.js";

const EVERY_MS = 5000;

export function clientsPage({ tenant, namespace, live, signal }) {
  const body = h("div");
  let answer = null;

  async function read() {
    try {
      const got = await api.clients(tenant, namespace, signal);
      // Whoever has version 7 is behind since version 8 was uploaded.
      const since = got.clients.some((client) => client.versions_behind > 0) ? await uploads(got.version) : new Map();
      answer = { ...got, since };
      draw();
    } catch (error) {
      if (signal.aborted) return;
      swap(body, failed(error, () => { swap(body, loading("clients")); reading.now(); }));
    }
  }

  let known = { version: 0, at: new Map() };
  async function uploads(version) {
    if (known.version !== version) {
      const { items } = await api.versions(tenant, namespace, { limit: 100, signal });
      known = { version, at: new Map(items.map((one) => [one.version, one.uploaded_at])) };
    }
    return known.at;
  }

  function draw() {
    const { clients, version, since } = answer;
    const behind = clients.filter((client) => client.versions_behind > 0);
    swap(body,
      h("p.clients-sum", h("strong", plural(clients.length, "open stream")), ", ",
        behind.length === 0 ? h("span.good", `${clients.length === 1 ? "" : "all "}at version ${version}`) : h("span.bad", `${behind.length} behind version ${version}`)),
      clients.length === 0
        ? empty("Nobody follows this namespace over the event stream.", h("p.quiet", "Clients that poll do not show here."))
        : table("Clients", ["Client", "Token", "Follows", "Version", "Behind", "Since", "Connected"], clients.map((client) => row(client, since))),
      h("p.quiet", "Streams of the server process that answers this page; of several on one database, each knows its own."));
  }

  swap(body, loading("clients"));
  const reading = poll(read, EVERY_MS);
  const off = live?.on((kind) => { if (kind === "model") reading.now(); });
  return {
    node: h("div.page", heading("Clients"), body),
    stop() { reading.stop(); off?.(); },
  };
}

function row(client, since) {
  const { id, token, address, flags, user_agent: agent, connected_at: connected, delivered_version: version, versions_behind: behind, queued } = client;
  return h("tr", { data: { key: `client ${id}` }, class: behind > 0 ? "row-behind" : null },
    h("th", { scope: "row" }, h("span", address ?? "unknown address"), agent && h("span.quiet.clip", { title: agent }, agent)),
    h("td", token.name || "unnamed", " ", h("code.quiet", token.id)),
    h("td", flags === null ? "all flags" : h("span", { title: flags.join(", ") }, plural(flags.length, "flag"))),
    h("td", version > 0 ? h("span.plate.plate-small", `v${version}`) : h("span.quiet", "none yet")),
    h("td", lag(behind), queued > 0 && h("span.quiet", ` ${queued} waiting`)),
    h("td", behind > 0 ? time(since.get(version + 1)) : h("span.quiet", "–")),
    h("td", time(connected)));
}

/** A bar as long as the lag, for the eye, and the number for everybody. */
function lag(behind) {
  if (behind === 0) return chip("up to date", "good");
  return h("span.lag", h("span.lag-bar", { style: { "--wide": `${Math.min(behind, 10) * 10}%` }, "aria-hidden": "true" }), plural(behind, "version"));
}
