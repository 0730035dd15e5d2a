-- A service: held by whoever writes one of its entries, one after the other. What is large stands last.
CREATE TABLE settings_services (
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT NOT NULL,
    slug TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    -- Counts the writes to its entries; and what the live ones come to, in bytes.
    content_revision INTEGER NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    data_key BLOB NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (tenant, namespace, environment),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces (tenant, slug)
) STRICT;

-- Which services believe an issuer.
CREATE TABLE settings_trusts (
    issuer TEXT NOT NULL,
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    environment TEXT NOT NULL,
    PRIMARY KEY (issuer, tenant, namespace, environment),
    FOREIGN KEY (tenant, namespace, environment) REFERENCES settings_services (tenant, namespace, environment)
) STRICT, WITHOUT ROWID;

CREATE INDEX settings_trusts_by_service ON settings_trusts (tenant, namespace, environment);

CREATE TABLE settings_keys (
    id TEXT NOT NULL PRIMARY KEY,
    secret BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    environment TEXT NOT NULL,
    public INTEGER NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at INTEGER,
    FOREIGN KEY (tenant, namespace, environment) REFERENCES settings_services (tenant, namespace, environment)
) STRICT;

CREATE INDEX settings_keys_by_service ON settings_keys (tenant, namespace, environment, id);

-- Configs, flags and secrets. What was deleted keeps its row, without the content, so that no version is given twice.
CREATE TABLE settings_entries (
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    last_version INTEGER NOT NULL,
    live_version INTEGER,
    size INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    -- Of a config or a flag that is live.
    content TEXT,
    PRIMARY KEY (tenant, namespace, environment, kind, name),
    FOREIGN KEY (tenant, namespace, environment) REFERENCES settings_services (tenant, namespace, environment)
) STRICT;

-- By which they are counted without a look at their content.
CREATE INDEX settings_entries_by_kind ON settings_entries (tenant, namespace, environment, kind, live_version);

CREATE TABLE settings_secret_versions (
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    form TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant, namespace, environment, name, version),
    FOREIGN KEY (tenant, namespace, environment) REFERENCES settings_services (tenant, namespace, environment)
) STRICT;

-- By which a write is recognised that is sent again, or whose answer was lost.
CREATE TABLE settings_requests (
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    environment TEXT NOT NULL,
    request BLOB NOT NULL,
    attempt BLOB NOT NULL,
    version INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, namespace, environment, request)
) STRICT, WITHOUT ROWID;

CREATE INDEX settings_requests_by_expiry ON settings_requests (tenant, namespace, environment, expires_at);

-- Of which service a change tells.
ALTER TABLE changes ADD COLUMN environment TEXT;
