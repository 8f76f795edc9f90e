-- The record: decisions, entries, the log, re-opens. Nothing here is ever taken back.

CREATE TABLE policy (
    digest BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32), -- SHA-256 of the text
    text   TEXT    NOT NULL                                          -- the policy as it was in force
) STRICT, WITHOUT ROWID;

CREATE TABLE decision (
    seq          INTEGER NOT NULL PRIMARY KEY,                       -- order of recording; clocks may step back, this does not
    push_id      TEXT    NOT NULL UNIQUE CHECK (push_id <> ''),      -- ULID of the push
    received_at  INTEGER NOT NULL,                                   -- receive time, seconds since 1970, UTC
    allowed      INTEGER NOT NULL CHECK (allowed IN (0, 1)),         -- 1: the push may enter
    policy       BLOB    NOT NULL REFERENCES policy (digest),        -- the policy in force
    facts        BLOB    NOT NULL,                                   -- canonical JSON, zlib
    facts_len    INTEGER NOT NULL CHECK (facts_len >= 0),            -- bytes after inflating
    decision     BLOB    NOT NULL,                                   -- canonical JSON, zlib
    decision_len INTEGER NOT NULL CHECK (decision_len >= 0)          -- bytes after inflating
) STRICT;

CREATE TABLE log_leaf (
    idx  INTEGER NOT NULL PRIMARY KEY CHECK (idx >= 0),              -- place in the log, from 0
    data BLOB    NOT NULL                                            -- what the leaf hash covers
) STRICT;

CREATE TABLE log_node (
    level INTEGER NOT NULL CHECK (level BETWEEN 0 AND 63),           -- 0: leaf hashes
    idx   INTEGER NOT NULL CHECK (idx >= 0),                         -- place in its level, from 0
    hash  BLOB    NOT NULL CHECK (length(hash) = 32),                -- RFC 6962 hash of a complete subtree
    PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_head (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),          -- there is one head
    size       INTEGER NOT NULL CHECK (size >= 0),                   -- leaves in the log
    root       BLOB    NOT NULL CHECK (length(root) = 32),           -- root hash of the tree of that size
    checkpoint TEXT    NOT NULL                                      -- signed checkpoint; empty for an empty log
) STRICT;

INSERT INTO log_head (id, size, root, checkpoint) VALUES (1, 0, zeroblob(32), '');

CREATE TABLE entry (
    seq          INTEGER NOT NULL PRIMARY KEY,                       -- order of recording
    id           TEXT    NOT NULL UNIQUE CHECK (id <> ''),           -- ULID of the entry
    push_id      TEXT    NOT NULL REFERENCES decision (push_id),     -- the push that brought it
    ref_name     TEXT    NOT NULL CHECK (ref_name LIKE 'refs/%'),    -- the ref that moves
    old_oid      BLOB    NOT NULL CHECK (length(old_oid) IN (20, 32)), -- where it stood; zero: created
    new_oid      BLOB    NOT NULL CHECK (length(new_oid) IN (20, 32)), -- where it goes; zero: deleted
    commit_oid   BLOB    CHECK (length(commit_oid) IN (20, 32)),     -- the commit, tags peeled
    tree_oid     BLOB    CHECK (length(tree_oid) IN (20, 32)),       -- the commit's tree
    received_at  INTEGER NOT NULL,                                   -- receive time of the push, seconds since 1970, UTC
    guarantees   TEXT    NOT NULL CHECK (json_valid(guarantees)),    -- JSON array
    owner        TEXT    NOT NULL,                                   -- boot id, pid and start time of the deciding receive-pack
    state        TEXT    NOT NULL CHECK (state IN ('pending', 'published', 'void')),
    log_index    INTEGER REFERENCES log_leaf (idx),                  -- leaf of its VSA
    status_index INTEGER CHECK (status_index >= 0),                  -- place in the status list
    provenance   TEXT,                                               -- DSSE envelope
    vsa          TEXT,                                               -- DSSE envelope
    -- Published means published whole; anything else carries none of it.
    CHECK ((state = 'published') = (log_index IS NOT NULL)),
    CHECK ((log_index IS NULL) = (status_index IS NULL)),
    CHECK ((log_index IS NULL) = (provenance IS NULL)),
    CHECK ((log_index IS NULL) = (vsa IS NULL))
) STRICT;

CREATE INDEX entry_pending ON entry (seq) WHERE state = 'pending';
CREATE INDEX entry_of_ref ON entry (ref_name, log_index) WHERE state = 'published';
CREATE INDEX entry_of_commit ON entry (commit_oid, log_index) WHERE state = 'published';
CREATE UNIQUE INDEX entry_log_index ON entry (log_index) WHERE state = 'published';
CREATE UNIQUE INDEX entry_status_index ON entry (status_index) WHERE state = 'published';

CREATE TABLE reopen (
    event          TEXT    NOT NULL PRIMARY KEY CHECK (event <> ''), -- ULID of the event
    action         TEXT    NOT NULL CHECK (action IN ('reopen', 'revoke', 'close')),
    reason         TEXT    NOT NULL CHECK (reason <> ''),            -- reason code
    selector_kind  TEXT    NOT NULL CHECK (selector_kind IN ('commit', 'blob', 'key', 'rule', 'actor')),
    selector_value TEXT    NOT NULL,                                 -- object id, key fingerprint, rule id or account
    effective_from INTEGER NOT NULL,                                 -- seconds since 1970, UTC, our clock at append
    log_index      INTEGER NOT NULL UNIQUE REFERENCES log_leaf (idx), -- leaf of the event
    envelope       TEXT    NOT NULL                                  -- DSSE envelope
) STRICT, WITHOUT ROWID;

CREATE TABLE reopen_entry (
    event    TEXT    NOT NULL REFERENCES reopen (event),
    position INTEGER NOT NULL CHECK (position >= 0),                 -- place in the event's list
    entry    TEXT    NOT NULL REFERENCES entry (id),                 -- an entry that the event selects
    PRIMARY KEY (event, position)
) STRICT, WITHOUT ROWID;

-- What is in the record stays as it was written: a defence against our own mistakes.
-- An intruder is answered by the log's hashes and witnesses.
CREATE TRIGGER decision_is_final BEFORE UPDATE ON decision
BEGIN SELECT raise(ABORT, 'a decision never changes'); END;
CREATE TRIGGER entry_is_final BEFORE UPDATE ON entry WHEN old.state <> 'pending'
BEGIN SELECT raise(ABORT, 'only a pending entry changes'); END;
CREATE TRIGGER log_leaf_is_final BEFORE UPDATE ON log_leaf
BEGIN SELECT raise(ABORT, 'the log only grows'); END;
CREATE TRIGGER log_leaf_stays BEFORE DELETE ON log_leaf
BEGIN SELECT raise(ABORT, 'the log only grows'); END;
CREATE TRIGGER log_node_is_final BEFORE UPDATE ON log_node
BEGIN SELECT raise(ABORT, 'the log only grows'); END;
CREATE TRIGGER log_node_stays BEFORE DELETE ON log_node
BEGIN SELECT raise(ABORT, 'the log only grows'); END;
