-- Messages that were not taken wait for themselves: those of other nodes go on.

ALTER TABLE outbox ADD COLUMN due BIGINT NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0;
CREATE INDEX outbox_node ON outbox (receiver, node, seq);
