-- Who may have sites: held by whoever adds one, so that no two add the last.
CREATE TABLE gate_orgs (
    org TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sites BIGINT NOT NULL
);

CREATE TABLE gate_keys (
    publish_key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org TEXT COLLATE "C" NOT NULL REFERENCES gate_orgs (org),
    site TEXT COLLATE "C",
    name TEXT COLLATE "C" NOT NULL,
    secret BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    revoked_at BIGINT
);

CREATE INDEX gate_keys_by_org ON gate_keys (org, publish_key);

-- The site is '' for what holds for the org.
CREATE TABLE gate_settings (
    org TEXT COLLATE "C" NOT NULL REFERENCES gate_orgs (org),
    site TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    content TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT,
    updated_by TEXT COLLATE "C",
    PRIMARY KEY (org, site)
);

-- Held by whoever counts for a site, or decides: one after the other. Rows that are written all the time have room
-- beside them, so that no index has to follow.
CREATE TABLE gate_sites (
    org TEXT COLLATE "C" NOT NULL REFERENCES gate_orgs (org),
    site TEXT COLLATE "C" NOT NULL,
    pulses BIGINT NOT NULL,
    last_pulse_at BIGINT,
    tags BIGINT NOT NULL,
    PRIMARY KEY (org, site)
) WITH (fillfactor = 50);

CREATE TABLE gate_rules (
    org TEXT COLLATE "C" NOT NULL,
    site TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    states TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org, site),
    FOREIGN KEY (org, site) REFERENCES gate_sites (org, site)
) WITH (fillfactor = 50);

-- What was seen of an instance last.
CREATE TABLE gate_instances (
    org TEXT COLLATE "C" NOT NULL,
    site TEXT COLLATE "C" NOT NULL,
    instance TEXT COLLATE "C" NOT NULL,
    memory BYTEA NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (org, site, instance)
) WITH (fillfactor = 70);

-- What a site counted within a second (span 1) and within a minute (span 60).
CREATE TABLE gate_cells (
    org TEXT COLLATE "C" NOT NULL,
    site TEXT COLLATE "C" NOT NULL,
    span BIGINT NOT NULL,
    start BIGINT NOT NULL,
    counts BYTEA NOT NULL,
    PRIMARY KEY (org, site, span, start)
) WITH (fillfactor = 70);

-- What a site counted since ever.
CREATE TABLE gate_totals (
    org TEXT COLLATE "C" NOT NULL,
    site TEXT COLLATE "C" NOT NULL,
    tag TEXT COLLATE "C" NOT NULL,
    counts BYTEA NOT NULL,
    PRIMARY KEY (org, site, tag)
) WITH (fillfactor = 70);

-- By which a batch is recognised whose answer was lost; ids are in the order of time.
CREATE TABLE gate_batches (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    verdicts TEXT COLLATE "C" NOT NULL
);
