-- Messages to be sent to others: written in the transaction of what they tell of, removed when they were taken.

CREATE TABLE outbox (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    receiver TEXT NOT NULL,
    node     TEXT NOT NULL,   -- may be gone
    created  BIGINT NOT NULL,
    body     TEXT NOT NULL
);
CREATE INDEX outbox_receiver ON outbox (receiver, seq);
