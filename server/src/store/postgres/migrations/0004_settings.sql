-- A service: held by whoever writes one of its entries, one after the other. What is large stands last.
CREATE TABLE settings_services (
    tenant TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    slug TEXT COLLATE "C" NOT NULL UNIQUE,
    revision BIGINT NOT NULL,
    -- Counts the writes to its entries; and what the live ones come to, in bytes.
    content_revision BIGINT NOT NULL,
    size BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL,
    data_key BYTEA NOT NULL,
    content TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, namespace, environment),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces (tenant, slug)
) WITH (fillfactor = 70);

-- Which services believe an issuer.
CREATE TABLE settings_trusts (
    issuer TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (issuer, tenant, namespace, environment),
    FOREIGN KEY (tenant, namespace, environment) REFERENCES settings_services (tenant, namespace, environment)
);

CREATE INDEX settings_trusts_by_service ON settings_trusts (tenant, namespace, environment);

CREATE TABLE settings_keys (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    secret BYTEA NOT NULL UNIQUE,
    tenant TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    public BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    revoked_at BIGINT,
    FOREIGN KEY (tenant, namespace, environment) REFERENCES settings_services (tenant, namespace, environment)
);

CREATE INDEX settings_keys_by_service ON settings_keys (tenant, namespace, environment, id);

-- Configs, flags and secrets. What was deleted keeps its row, without the content, so that no version is given twice.
CREATE TABLE settings_entries (
    tenant TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    last_version BIGINT NOT NULL,
    live_version BIGINT,
    size BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL,
    -- Of a config or a flag that is live.
    content TEXT COLLATE "C",
    PRIMARY KEY (tenant, namespace, environment, kind, name),
    FOREIGN KEY (tenant, namespace, environment) REFERENCES settings_services (tenant, namespace, environment)
);

-- By which they are counted without a look at their content.
CREATE INDEX settings_entries_by_kind ON settings_entries (tenant, namespace, environment, kind, live_version);

CREATE TABLE settings_secret_versions (
    tenant TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    form TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (tenant, namespace, environment, name, version),
    FOREIGN KEY (tenant, namespace, environment) REFERENCES settings_services (tenant, namespace, environment)
);

-- What is sealed cannot be compressed.
ALTER TABLE settings_secret_versions ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- By which a write is recognised that is sent again, or whose answer was lost.
CREATE TABLE settings_requests (
    tenant TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    request BYTEA NOT NULL,
    attempt BYTEA NOT NULL,
    version BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, namespace, environment, request)
);

CREATE INDEX settings_requests_by_expiry ON settings_requests (tenant, namespace, environment, expires_at);

-- Of which service a change tells.
ALTER TABLE changes ADD COLUMN environment TEXT COLLATE "C";
