-- Events about a ref: a forge's protection of it lapsed, or was restored.
-- SQLite changes no CHECK in place: both tables are made anew, with what is in them.
CREATE TABLE reopen_next (
    event          TEXT    NOT NULL PRIMARY KEY CHECK (event <> ''), -- ULID of the event
    action         TEXT    NOT NULL CHECK (action IN ('reopen', 'revoke', 'close')),
    reason         TEXT    NOT NULL CHECK (reason <> ''),            -- reason code
    selector_kind  TEXT    NOT NULL CHECK (selector_kind IN ('commit', 'blob', 'key', 'rule', 'actor', 'ref')),
    selector_value TEXT    NOT NULL,                                 -- object id, key fingerprint, rule id, account or ref
    effective_from INTEGER NOT NULL,                                 -- seconds since 1970, UTC, our clock at append
    log_index      INTEGER NOT NULL UNIQUE REFERENCES log_leaf (idx), -- leaf of the event
    envelope       TEXT    NOT NULL                                  -- DSSE envelope
) STRICT, WITHOUT ROWID;
INSERT INTO reopen_next SELECT event, action, reason, selector_kind, selector_value, effective_from, log_index, envelope
    FROM reopen;

CREATE TABLE reopen_entry_next (
    event    TEXT    NOT NULL REFERENCES reopen_next (event),
    position INTEGER NOT NULL CHECK (position >= 0),                 -- place in the event's list
    entry    TEXT    NOT NULL REFERENCES entry (id),                 -- an entry that the event selects
    PRIMARY KEY (event, position)
) STRICT, WITHOUT ROWID;
INSERT INTO reopen_entry_next SELECT event, position, entry FROM reopen_entry;

DROP TABLE reopen_entry;
DROP TABLE reopen;
ALTER TABLE reopen_next RENAME TO reopen;
ALTER TABLE reopen_entry_next RENAME TO reopen_entry;
