-- The bot's inbox and outbox in PostgreSQL; columns as in 0003_bot.sql. May run on tables that are there.

CREATE TABLE IF NOT EXISTS lychgate_inbox (
    row         BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    forge       TEXT    NOT NULL CHECK (forge <> ''),
    delivery    TEXT    NOT NULL CHECK (delivery <> ''),
    lane        TEXT    NOT NULL CHECK (lane <> ''),
    received_at BIGINT  NOT NULL,
    event       TEXT    NOT NULL CHECK (event::json IS NOT NULL),
    covers      BOOLEAN NOT NULL,
    state       TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'leased', 'done', 'dead')),
    due         BIGINT  NOT NULL DEFAULT 0,
    until       BIGINT  NOT NULL DEFAULT 0,
    owner       TEXT    NOT NULL DEFAULT '',
    fence       BIGINT  NOT NULL DEFAULT 0 CHECK (fence >= 0),
    attempts    BIGINT  NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    why         TEXT    NOT NULL DEFAULT '',
    UNIQUE (forge, delivery)
);

CREATE INDEX IF NOT EXISTS lychgate_inbox_open ON lychgate_inbox (lane, row) WHERE state IN ('waiting', 'leased');
CREATE INDEX IF NOT EXISTS lychgate_inbox_due ON lychgate_inbox (row) WHERE state IN ('waiting', 'leased');
CREATE INDEX IF NOT EXISTS lychgate_inbox_old ON lychgate_inbox (received_at) WHERE state = 'done';
CREATE INDEX IF NOT EXISTS lychgate_inbox_dead ON lychgate_inbox (row) WHERE state = 'dead';

CREATE TABLE IF NOT EXISTS lychgate_outbox (
    row      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane     TEXT   NOT NULL CHECK (lane <> ''),
    display  TEXT   NOT NULL CHECK (display::json IS NOT NULL),
    state    TEXT   NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'leased', 'done', 'superseded', 'dead')),
    due      BIGINT NOT NULL DEFAULT 0,
    until    BIGINT NOT NULL DEFAULT 0,
    owner    TEXT   NOT NULL DEFAULT '',
    fence    BIGINT NOT NULL DEFAULT 0 CHECK (fence >= 0),
    attempts BIGINT NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    why      TEXT   NOT NULL DEFAULT ''
);

CREATE INDEX IF NOT EXISTS lychgate_outbox_due ON lychgate_outbox (row) WHERE state IN ('waiting', 'leased');
CREATE INDEX IF NOT EXISTS lychgate_outbox_of_lane ON lychgate_outbox (lane, row);
CREATE INDEX IF NOT EXISTS lychgate_outbox_dead ON lychgate_outbox (row) WHERE state = 'dead';

CREATE OR REPLACE VIEW lychgate_dead_letter AS
    SELECT 'inbox' AS box, row, lane, attempts, why, event AS content FROM lychgate_inbox WHERE state = 'dead'
    UNION ALL
    SELECT 'outbox', row, lane, attempts, why, display FROM lychgate_outbox WHERE state = 'dead';
