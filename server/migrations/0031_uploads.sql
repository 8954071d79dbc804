-- Uploads that come in pieces and may be resumed (tus). The bytes lie in `uploads/ID` until they are all there.

CREATE TABLE uploads (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    length     INTEGER NOT NULL,
    received   INTEGER NOT NULL DEFAULT 0,        -- bytes that are durable; what the client was told at most
    metadata   TEXT NOT NULL DEFAULT '',          -- Upload-Metadata as it came
    claimed    TEXT,                              -- SHA-256 as the client says: how a second try is recognised
    sha256     TEXT,                              -- SHA-256 as counted here, once all is there
    state      TEXT NOT NULL DEFAULT 'receiving' CHECK (state IN ('receiving', 'storing', 'done', 'refused')),
    video_id   TEXT REFERENCES videos (id) ON DELETE SET NULL,
    duplicate  INTEGER NOT NULL DEFAULT 0,
    error      TEXT,                              -- why it was refused
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX uploads_by_claim ON uploads (claimed) WHERE claimed IS NOT NULL;
CREATE INDEX uploads_by_expiry ON uploads (expires_ms);
