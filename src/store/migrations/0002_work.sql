-- What may be lost without loss of evidence: verdict cache, second opinions, work after the push.

CREATE TABLE rule_set (
    id     INTEGER NOT NULL PRIMARY KEY,
    digest TEXT    NOT NULL UNIQUE CHECK (digest <> '')              -- SHA-256 of the rules and the matching core, hex
) STRICT;

CREATE TABLE scanned_commit (
    rule_set INTEGER NOT NULL REFERENCES rule_set (id),              -- a number, since thousands of rows share one digest
    oid      BLOB    NOT NULL CHECK (length(oid) IN (20, 32)),       -- all that this commit introduces was scanned clean
    PRIMARY KEY (rule_set, oid)
) STRICT, WITHOUT ROWID;

CREATE TABLE used_key (
    key TEXT NOT NULL PRIMARY KEY CHECK (key <> '')                  -- fingerprint of a key that had its second opinion
) STRICT, WITHOUT ROWID;

CREATE TABLE task (
    -- AUTOINCREMENT: a number is never used again, so a late `done` cannot remove another task.
    id   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    body TEXT    NOT NULL CHECK (json_valid(body))                   -- JSON of the task
) STRICT;
