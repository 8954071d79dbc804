-- Files of the OpenAI-compatible API: clips and pictures that requests name by id for a while. They are no videos of the
-- library.
CREATE TABLE files (
    id         TEXT PRIMARY KEY,
    owner      TEXT,                              -- the user or API key; NULL where no login is required
    sha256     TEXT NOT NULL,                     -- names the content, which several files may share
    name       TEXT NOT NULL,
    purpose    TEXT NOT NULL,                     -- as the client says
    size       INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX files_by_content ON files (sha256, size);
CREATE INDEX files_by_owner ON files (owner, id);
CREATE INDEX files_by_expiry ON files (expires_ms);

-- The purpose of a resumable upload of such a file, which gets the id of its upload. NULL: an upload to the library.
ALTER TABLE uploads ADD COLUMN purpose TEXT;
