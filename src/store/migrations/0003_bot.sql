-- The bot's inbox and outbox: what a forge delivered, and what it shall show.

CREATE TABLE inbox (
    row         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,          -- order of arrival; never used again
    forge       TEXT    NOT NULL CHECK (forge <> ''),                -- the forge's name in the configuration
    delivery    TEXT    NOT NULL CHECK (delivery <> ''),             -- the forge's id of the delivery
    lane        TEXT    NOT NULL CHECK (lane <> ''),                 -- what shares a lane is worked on one at a time
    received_at INTEGER NOT NULL,                                    -- seconds since 1970, UTC
    event       TEXT    NOT NULL CHECK (json_valid(event)),          -- JSON of the event
    covers      INTEGER NOT NULL CHECK (covers IN (0, 1)),           -- 1: one such event covers all that wait in its lane
    state       TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'leased', 'done', 'dead')),
    due         INTEGER NOT NULL DEFAULT 0,                          -- not to be tried before
    until       INTEGER NOT NULL DEFAULT 0,                          -- end of the lease
    owner       TEXT    NOT NULL DEFAULT '',                         -- who holds or held the lease
    fence       INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),       -- grows with each lease
    attempts    INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),    -- leases so far
    why         TEXT    NOT NULL DEFAULT '',                         -- why it failed the last time
    UNIQUE (forge, delivery)
) STRICT;

CREATE INDEX inbox_open ON inbox (lane, row) WHERE state IN ('waiting', 'leased');
CREATE INDEX inbox_due ON inbox (row) WHERE state IN ('waiting', 'leased');
CREATE INDEX inbox_old ON inbox (received_at) WHERE state = 'done';
CREATE INDEX inbox_dead ON inbox (row) WHERE state = 'dead';

CREATE TABLE outbox (
    row      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,             -- order; of one lane, the highest counts
    lane     TEXT    NOT NULL CHECK (lane <> ''),                    -- the change
    display  TEXT    NOT NULL CHECK (json_valid(display)),           -- JSON of the display
    state    TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'leased', 'done', 'superseded', 'dead')),
    due      INTEGER NOT NULL DEFAULT 0,
    until    INTEGER NOT NULL DEFAULT 0,
    owner    TEXT    NOT NULL DEFAULT '',
    fence    INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    why      TEXT    NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX outbox_open ON outbox (lane, row) WHERE state IN ('waiting', 'leased');
CREATE INDEX outbox_due ON outbox (row) WHERE state IN ('waiting', 'leased');
CREATE INDEX outbox_of_lane ON outbox (lane, row);
CREATE INDEX outbox_dead ON outbox (row) WHERE state = 'dead';

-- What was tried too often, for a person to look at.
CREATE VIEW dead_letter AS
    SELECT 'inbox' AS box, row, lane, attempts, why, event AS content FROM inbox WHERE state = 'dead'
    UNION ALL
    SELECT 'outbox', row, lane, attempts, why, display FROM outbox WHERE state = 'dead';
