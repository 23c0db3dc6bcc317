-- Times are microseconds since 1970, flags 0 or 1, ids and hashes text: the same statements serve SQLite and
-- PostgreSQL. Only the counting columns (seq) are SQLite's own.

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE nodes (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid            TEXT NOT NULL UNIQUE,
    name            TEXT UNIQUE,
    instance_uuid   TEXT UNIQUE,
    provision_state TEXT NOT NULL,
    driver          TEXT NOT NULL,
    resource_class  TEXT,
    maintenance     BIGINT NOT NULL,
    unsettled       BIGINT NOT NULL, -- reserved, or its power is being changed
    version         BIGINT NOT NULL,
    document        TEXT NOT NULL,   -- the node as JSON without the two below
    driver_info     TEXT NOT NULL,   -- sealed
    instance_info   TEXT NOT NULL    -- sealed
);
CREATE INDEX nodes_provision_state ON nodes (provision_state);
CREATE INDEX nodes_unsettled ON nodes (unsettled) WHERE unsettled = 1;

CREATE TABLE ports (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid     TEXT NOT NULL UNIQUE,
    node     TEXT NOT NULL REFERENCES nodes (uuid) ON DELETE CASCADE,
    address  TEXT NOT NULL UNIQUE,
    document TEXT NOT NULL
);
CREATE INDEX ports_node ON ports (node);

CREATE TABLE boots (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT NOT NULL UNIQUE,
    node              TEXT NOT NULL REFERENCES nodes (uuid) ON DELETE CASCADE,
    token_hash        TEXT NOT NULL,
    token_expires     BIGINT NOT NULL,
    enrolled_key_hash TEXT,
    created           BIGINT NOT NULL,
    closed            BIGINT NOT NULL
);
CREATE INDEX boots_node ON boots (node);

CREATE TABLE steps (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    node             TEXT NOT NULL REFERENCES nodes (uuid) ON DELETE CASCADE,
    boot             TEXT NOT NULL,
    name             TEXT NOT NULL,
    attempt          BIGINT NOT NULL,
    arguments        TEXT NOT NULL,  -- sealed
    deadline_seconds BIGINT NOT NULL,
    succeeded        BIGINT,         -- null while not finished
    outcome          TEXT,           -- result as JSON, or the error
    created          BIGINT NOT NULL
);
CREATE INDEX steps_node ON steps (node);

CREATE TABLE history (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    node       TEXT NOT NULL REFERENCES nodes (uuid) ON DELETE CASCADE,
    time       BIGINT NOT NULL,
    from_state TEXT NOT NULL,
    to_state   TEXT NOT NULL,
    error      TEXT
);
CREATE INDEX history_node ON history (node, seq);

CREATE TABLE agent_log (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    node    TEXT NOT NULL REFERENCES nodes (uuid) ON DELETE CASCADE,
    boot    TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    level   BIGINT NOT NULL,
    target  TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX agent_log_node ON agent_log (node, id);
