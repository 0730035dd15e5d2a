// Who is connected, and how far behind.

import { api } from "../api.js";
import { h, swap } from "../dom.js";
import { plural } from "../format.js";
import { chip, empty, failed, heading, loading, table, time } from "../ui.js";

const EVERY_MS = 5000;

export function clientsPage({ tenant, namespace, live, signal }) {
  const body = h("div");
  let timer = 0;
  let answer = null;

  async function read() {
    clearTimeout(timer);
    try {
      answer = await api.clients(tenant, namespace, signal);
      draw();
    } catch (error) {
      if (signal.aborted) return;
      swap(body, failed(error, () => { swap(body, loading("clients")); read(); }));
    }
    // A page that nobody looks at asks nothing.
    if (!signal.aborted) timer = setTimeout(() => (document.hidden ? (timer = setTimeout(read, EVERY_MS)) : read()), EVERY_MS);
  }

  function draw() {
    const clients = answer.clients ?? [];
    const current = answer.current_version ?? live?.model?.version ?? 0;
    const behind = clients.filter((client) => (client.behind ?? 0) > 0);
    swap(body,
      h("p.clients-sum", h("strong", plural(clients.length, "open stream")), ", ",
        behind.length === 0 ? h("span.good", `all at version ${current}`) : h("span.bad", `${behind.length} behind version ${current}`)),
      clients.length === 0
        ? empty("Nobody follows this namespace over the event stream.", h("p.quiet", "Clients that poll do not show here."))
        : table("Clients", ["Client", "Token", "Follows", "Version", "Behind", "Since", "Connected"], clients.map((client) => row(client, current))));
  }

  const off = live?.on((kind) => { if (kind === "model") read(); });
  swap(body, loading("clients"));
  read();
  return {
    node: h("div.page", heading("Clients"), body),
    stop() { clearTimeout(timer); off?.(); },
  };
}

function row(client, current) {
  const { id, token, peer, subscription, version, behind = 0, behind_since: since, connected_at: connected, user_agent: agent } = client;
  return h("tr", { data: { key: `client ${id}` }, class: behind > 0 ? "row-behind" : null },
    h("th", { scope: "row" }, h("span", peer ?? id), agent && h("span.quiet.clip", agent)),
    h("td", h("code", token ?? "–")),
    h("td", subscriptionWords(subscription)),
    h("td", version ? h("span.plate.plate-small", `v${version}`) : "–"),
    h("td", lag(behind, current)),
    h("td", behind > 0 ? time(since) : h("span.quiet", "–")),
    h("td", time(connected)));
}

/** A bar as long as the lag, for the eye, and the number for everybody. */
function lag(behind) {
  if (behind === 0) return chip("up to date", "good");
  return h("span.lag", h("span.lag-bar", { style: { "--wide": `${Math.min(behind, 10) * 10}%` }, "aria-hidden": "true" }), plural(behind, "version"));
}

function subscriptionWords(subscription) {
  if (!subscription || subscription === "*" || (Array.isArray(subscription) && subscription.length === 0)) return "all flags";
  return Array.isArray(subscription) ? plural(subscription.length, "flag") : String(subscription);
}
