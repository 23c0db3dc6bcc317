-- Of some subjects only the newest message is worth sending: it replaces the one that still waits.

ALTER TABLE outbox ADD COLUMN topic TEXT NOT NULL DEFAULT '';
