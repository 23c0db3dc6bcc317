-- The tables as the migrations of SQLite beside this folder leave them. Only the counting columns (seq) and the
-- order of texts are PostgreSQL's own: "C" sorts by bytes, as SQLite does.

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE nodes (
    seq                    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid                   TEXT COLLATE "C" NOT NULL UNIQUE,
    name                   TEXT COLLATE "C" UNIQUE,
    instance_uuid          TEXT COLLATE "C" UNIQUE,
    instance_name          TEXT COLLATE "C",
    provision_state        TEXT COLLATE "C" NOT NULL,
    power_state            TEXT COLLATE "C",
    driver                 TEXT COLLATE "C" NOT NULL,
    resource_class         TEXT COLLATE "C",
    conductor_group        TEXT COLLATE "C" NOT NULL,
    chassis_uuid           TEXT COLLATE "C",
    parent_node            TEXT COLLATE "C",
    owner                  TEXT COLLATE "C",
    lessee                 TEXT COLLATE "C",
    shard                  TEXT COLLATE "C",
    fault                  TEXT COLLATE "C",
    reservation            TEXT COLLATE "C",
    description_folded     TEXT COLLATE "C",
    maintenance            BIGINT NOT NULL,
    retired                BIGINT NOT NULL,
    unsettled              BIGINT NOT NULL,
    version                BIGINT NOT NULL,
    created_at             BIGINT NOT NULL,
    updated_at             BIGINT,
    provision_updated_at   BIGINT,
    inspection_started_at  BIGINT,
    inspection_finished_at BIGINT,
    document               TEXT NOT NULL,
    driver_info            TEXT NOT NULL, -- sealed
    instance_info          TEXT NOT NULL  -- sealed
);
CREATE INDEX nodes_provision_state ON nodes (provision_state);
CREATE INDEX nodes_unsettled ON nodes (seq) WHERE unsettled = 1;
CREATE INDEX nodes_instance_name ON nodes (instance_name);
CREATE INDEX nodes_resource_class ON nodes (resource_class);
CREATE INDEX nodes_chassis_uuid ON nodes (chassis_uuid);
CREATE INDEX nodes_parent_node ON nodes (parent_node);
CREATE INDEX nodes_owner ON nodes (owner);
CREATE INDEX nodes_lessee ON nodes (lessee);
CREATE INDEX nodes_shard ON nodes (shard);
CREATE INDEX nodes_fault ON nodes (fault);
CREATE INDEX nodes_maintenance ON nodes (seq) WHERE maintenance = 1;
CREATE INDEX nodes_retired ON nodes (seq) WHERE retired = 1;

CREATE TABLE ports (
    seq      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid     TEXT COLLATE "C" NOT NULL UNIQUE,
    node     TEXT COLLATE "C" NOT NULL REFERENCES nodes (uuid) ON DELETE CASCADE,
    address  TEXT COLLATE "C" NOT NULL UNIQUE,
    document TEXT NOT NULL
);
CREATE INDEX ports_node ON ports (node);

CREATE TABLE boots (
    seq               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                TEXT COLLATE "C" NOT NULL UNIQUE,
    node              TEXT COLLATE "C" NOT NULL REFERENCES nodes (uuid) ON DELETE CASCADE,
    token_hash        TEXT NOT NULL,
    token_expires     BIGINT NOT NULL,
    enrolled_key_hash TEXT,
    created           BIGINT NOT NULL,
    closed            BIGINT NOT NULL
);
CREATE INDEX boots_node ON boots (node);

CREATE TABLE steps (
    seq              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id               TEXT COLLATE "C" NOT NULL UNIQUE,
    node             TEXT COLLATE "C" NOT NULL REFERENCES nodes (uuid) ON DELETE CASCADE,
    boot             TEXT NOT NULL,
    name             TEXT NOT NULL,
    attempt          BIGINT NOT NULL,
    arguments        TEXT NOT NULL, -- sealed
    deadline_seconds BIGINT NOT NULL,
    succeeded        BIGINT,
    outcome          TEXT,
    created          BIGINT NOT NULL
);
CREATE INDEX steps_node ON steps (node);

CREATE TABLE history (
    seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node       TEXT COLLATE "C" NOT NULL REFERENCES nodes (uuid) ON DELETE CASCADE,
    time       BIGINT NOT NULL,
    from_state TEXT NOT NULL,
    to_state   TEXT NOT NULL,
    error      TEXT,
    details    TEXT
);
CREATE INDEX history_node ON history (node, seq);

CREATE TABLE agent_log (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node    TEXT COLLATE "C" NOT NULL REFERENCES nodes (uuid) ON DELETE CASCADE,
    boot    TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    level   BIGINT NOT NULL,
    target  TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX agent_log_node ON agent_log (node, id);

CREATE TABLE resources (
    seq      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind     TEXT COLLATE "C" NOT NULL,
    uuid     TEXT COLLATE "C" NOT NULL,
    name     TEXT COLLATE "C",
    other    TEXT COLLATE "C",
    node     TEXT COLLATE "C" REFERENCES nodes (uuid) ON DELETE CASCADE,
    created  BIGINT NOT NULL,
    updated  BIGINT,
    version  BIGINT NOT NULL,
    document TEXT NOT NULL, -- sealed
    UNIQUE (kind, uuid),
    UNIQUE (kind, name),
    UNIQUE (kind, other)
);
CREATE INDEX resources_node ON resources (node);

CREATE TABLE outbox (
    seq      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id       TEXT COLLATE "C" NOT NULL UNIQUE,
    receiver TEXT COLLATE "C" NOT NULL,
    node     TEXT NOT NULL,
    created  BIGINT NOT NULL,
    body     TEXT NOT NULL
);
CREATE INDEX outbox_receiver ON outbox (receiver, seq);
