-- Files of the watched directory that were looked at: each is imported once, however often the server starts.

CREATE TABLE watched (
    path        TEXT PRIMARY KEY,
    size        INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    outcome     TEXT NOT NULL                     -- 'imported', or why not
) STRICT;
