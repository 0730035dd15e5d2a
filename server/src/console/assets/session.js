// Who is logged in. The token lives in this module's memory and nowhere else: no storage, no cookie, no URL, no log. A
// reload forgets it, and so does a page that the browser puts aside.

const KINDS = {
  exd_admin_: "superadmin",
  exd_tenant_: "tenant_admin",
  exd_write_: "namespace_write",
  exd_read_: "namespace_read",
  exd_client_: "namespace_client",
};

export const KIND_NAMES = {
  superadmin: "Superadmin",
  tenant_admin: "Tenant admin",
  namespace_write: "Namespace, read and write",
  namespace_read: "Namespace, read",
  namespace_client: "Namespace, client",
};

let secret = null;
let self = null;
const listeners = new Set();

export const session = {
  /** What is known of the token: `{id, type, name, tenant, namespace, environment, expires_at}`; `null` without one. */
  get self() { return self; },
  get isOpen() { return self !== null; },

  /** Begins a session with a token that the server has accepted. */
  open(token, of) {
    secret = token;
    self = Object.freeze({ ...of });
    tell();
  },

  /** Ends the session; `reason` is shown on the log-in page. */
  close(reason = "") {
    if (secret === null && self === null) return;
    secret = null;
    self = null;
    tell(reason);
  },

  onChange(listener) { listeners.add(listener); },

  /** What a request carries. The only way out of this module. */
  authorization() { return secret === null ? null : `Bearer ${secret}`; },

  may(permission, tenant, namespace) {
    if (!self) return false;
    const inTenant = self.tenant === tenant;
    const inNamespace = inTenant && namespace !== undefined && self.namespace === namespace;
    switch (self.type) {
      case "superadmin": return permission !== "evaluate.public";
      case "tenant_admin": return inTenant && permission !== "tenant.create" && permission !== "evaluate.public";
      case "namespace_write": return inNamespace && ["manifest.read", "manifest.write", "evaluate", "clients.read", "settings.read", "settings.write"].includes(permission);
      case "namespace_read": return inNamespace && ["manifest.read", "evaluate", "settings.read"].includes(permission);
      case "namespace_client": return inNamespace && permission === "evaluate.public";
      default: return false;
    }
  },
};

/** Tells the type of a token by how it begins; `null` for what is none. */
export function kindOf(token) {
  for (const [prefix, kind] of Object.entries(KINDS)) if (token.startsWith(prefix)) return kind;
  return null;
}

function tell(reason = "") {
  for (const listener of listeners) listener(reason);
}

// A page kept for the back button would keep the token as well.
addEventListener("pagehide", (event) => { if (event.persisted) session.close(); });
