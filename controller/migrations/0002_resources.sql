-- The small resources of the API (chassis, port groups, templates, …): one row each, told apart by `kind`.

CREATE TABLE resources (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT NOT NULL,
    uuid     TEXT NOT NULL,
    name     TEXT,
    other    TEXT,            -- one more value that is unique within the kind
    node     TEXT REFERENCES nodes (uuid) ON DELETE CASCADE,
    created  BIGINT NOT NULL,
    updated  BIGINT,
    version  BIGINT NOT NULL,
    document TEXT NOT NULL,   -- sealed
    UNIQUE (kind, uuid),
    UNIQUE (kind, name),
    UNIQUE (kind, other)
);
CREATE INDEX resources_node ON resources (node);
