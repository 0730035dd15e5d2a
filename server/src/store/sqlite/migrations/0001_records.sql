CREATE TABLE tenants (
    slug TEXT NOT NULL PRIMARY KEY,
    display_name TEXT NOT NULL,
    login_mode TEXT NOT NULL,
    sso_provider TEXT,
    email_domain TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE namespaces (
    tenant TEXT NOT NULL REFERENCES tenants (slug),
    slug TEXT NOT NULL,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (tenant, slug)
) STRICT, WITHOUT ROWID;

CREATE TABLE archives (
    sha256 TEXT NOT NULL PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE versions (
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    version INTEGER NOT NULL,
    uploaded_at INTEGER NOT NULL,
    uploaded_by TEXT NOT NULL,
    flag_count INTEGER NOT NULL,
    segment_count INTEGER NOT NULL,
    sha256 TEXT NOT NULL REFERENCES archives (sha256),
    fingerprint TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (tenant, namespace, version),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces (tenant, slug)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    secret BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    tenant TEXT REFERENCES tenants (slug),
    namespace TEXT,
    environment TEXT,
    name TEXT NOT NULL,
    allowed_origins TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces (tenant, slug)
) STRICT;

CREATE INDEX tokens_by_owner ON tokens (tenant, namespace, id);

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    nonce TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    principal TEXT NOT NULL,
    action TEXT NOT NULL,
    tenant TEXT,
    target TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

CREATE INDEX audit_by_tenant ON audit (tenant, seq);
