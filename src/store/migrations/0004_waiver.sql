-- Waivers: what was asked for, approved and ended. Each record is a leaf of the log; here it is found again.

CREATE TABLE waiver (
    event     TEXT    NOT NULL PRIMARY KEY CHECK (event <> ''),      -- ULID of the record
    waiver    TEXT    NOT NULL CHECK (waiver <> ''),                 -- ULID of the request that it belongs to
    expires   INTEGER NOT NULL,                                      -- when the waiver ends, seconds since 1970, UTC
    source    TEXT    UNIQUE,                                        -- the command that led to it; NULL: the shell
    log_index INTEGER NOT NULL UNIQUE REFERENCES log_leaf (idx),     -- leaf of the record
    envelope  TEXT    NOT NULL                                       -- DSSE envelope
) STRICT;

CREATE INDEX waiver_end ON waiver (expires, log_index);

CREATE TRIGGER waiver_is_final BEFORE UPDATE ON waiver
BEGIN SELECT raise(ABORT, 'a record of a waiver never changes'); END;
