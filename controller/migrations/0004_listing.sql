-- More of a node in columns, to filter and sort by. The wide columns go to the end of the row, so that what is
-- before them is read without them. The controller fills the new columns when it opens the database.

CREATE TABLE node_texts (
    seq           INTEGER PRIMARY KEY,
    document      TEXT NOT NULL,
    driver_info   TEXT NOT NULL,
    instance_info TEXT NOT NULL
);
INSERT INTO node_texts (seq, document, driver_info, instance_info)
    SELECT seq, document, driver_info, instance_info FROM nodes;

ALTER TABLE nodes DROP COLUMN document;
ALTER TABLE nodes DROP COLUMN driver_info;
ALTER TABLE nodes DROP COLUMN instance_info;

ALTER TABLE nodes ADD COLUMN instance_name TEXT;
ALTER TABLE nodes ADD COLUMN power_state TEXT;
ALTER TABLE nodes ADD COLUMN conductor_group TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN chassis_uuid TEXT;
ALTER TABLE nodes ADD COLUMN parent_node TEXT;
ALTER TABLE nodes ADD COLUMN owner TEXT;
ALTER TABLE nodes ADD COLUMN lessee TEXT;
ALTER TABLE nodes ADD COLUMN shard TEXT;
ALTER TABLE nodes ADD COLUMN fault TEXT;
ALTER TABLE nodes ADD COLUMN reservation TEXT;
ALTER TABLE nodes ADD COLUMN description_folded TEXT; -- in lower case
ALTER TABLE nodes ADD COLUMN retired BIGINT NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN created_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN updated_at BIGINT;
ALTER TABLE nodes ADD COLUMN provision_updated_at BIGINT;
ALTER TABLE nodes ADD COLUMN inspection_started_at BIGINT;
ALTER TABLE nodes ADD COLUMN inspection_finished_at BIGINT;

ALTER TABLE nodes ADD COLUMN document TEXT NOT NULL DEFAULT '';      -- the node as JSON without the two below
ALTER TABLE nodes ADD COLUMN driver_info TEXT NOT NULL DEFAULT '';   -- sealed
ALTER TABLE nodes ADD COLUMN instance_info TEXT NOT NULL DEFAULT ''; -- sealed
UPDATE nodes SET (document, driver_info, instance_info) =
    (SELECT document, driver_info, instance_info FROM node_texts WHERE node_texts.seq = nodes.seq);
DROP TABLE node_texts;

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
