-- Who may have sites: held by whoever adds one, so that no two add the last.
CREATE TABLE gate_orgs (
    org TEXT NOT NULL PRIMARY KEY,
    sites INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE gate_keys (
    publish_key TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES gate_orgs (org),
    site TEXT,
    name TEXT NOT NULL,
    secret BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX gate_keys_by_org ON gate_keys (org, publish_key);

-- The site is '' for what holds for the org.
CREATE TABLE gate_settings (
    org TEXT NOT NULL REFERENCES gate_orgs (org),
    site TEXT NOT NULL,
    revision INTEGER NOT NULL,
    content TEXT NOT NULL,
    updated_at INTEGER,
    updated_by TEXT,
    PRIMARY KEY (org, site)
) STRICT, WITHOUT ROWID;

-- Held by whoever counts for a site, or decides: one after the other.
CREATE TABLE gate_sites (
    org TEXT NOT NULL REFERENCES gate_orgs (org),
    site TEXT NOT NULL,
    pulses INTEGER NOT NULL,
    last_pulse_at INTEGER,
    tags INTEGER NOT NULL,
    PRIMARY KEY (org, site)
) STRICT, WITHOUT ROWID;

CREATE TABLE gate_rules (
    org TEXT NOT NULL,
    site TEXT NOT NULL,
    revision INTEGER NOT NULL,
    states TEXT NOT NULL,
    PRIMARY KEY (org, site),
    FOREIGN KEY (org, site) REFERENCES gate_sites (org, site)
) STRICT, WITHOUT ROWID;

-- What was seen of an instance last.
CREATE TABLE gate_instances (
    org TEXT NOT NULL,
    site TEXT NOT NULL,
    instance TEXT NOT NULL,
    memory BLOB NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (org, site, instance)
) STRICT, WITHOUT ROWID;

-- What a site counted within a second (span 1) and within a minute (span 60).
CREATE TABLE gate_cells (
    org TEXT NOT NULL,
    site TEXT NOT NULL,
    span INTEGER NOT NULL,
    start INTEGER NOT NULL,
    counts BLOB NOT NULL,
    PRIMARY KEY (org, site, span, start)
) STRICT;

-- What a site counted since ever.
CREATE TABLE gate_totals (
    org TEXT NOT NULL,
    site TEXT NOT NULL,
    tag TEXT NOT NULL,
    counts BLOB NOT NULL,
    PRIMARY KEY (org, site, tag)
) STRICT, WITHOUT ROWID;

-- By which a batch is recognised whose answer was lost; ids are in the order of time.
CREATE TABLE gate_batches (
    id TEXT NOT NULL PRIMARY KEY,
    verdicts TEXT NOT NULL
) STRICT, WITHOUT ROWID;
