-- Responses of OpenAI's Responses API, kept for a day so that a conversation can continue from them.
CREATE TABLE responses (
    id         TEXT PRIMARY KEY,
    owner      TEXT,                              -- the user or API key that asked; NULL where no login is required
    bytes      INTEGER NOT NULL,                  -- of both texts
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    object     TEXT NOT NULL,                     -- JSON: the response as it was sent
    items      TEXT NOT NULL                      -- JSON: array of the conversation's items before the response's own output
) STRICT;

CREATE INDEX responses_by_owner ON responses (owner, created_ms DESC, id DESC);
CREATE INDEX responses_by_expiry ON responses (expires_ms);

-- Media that requests embedded and that conversations of `responses` refer to. The bytes are in `responses/SHA256`.
CREATE TABLE response_media (
    sha256 TEXT PRIMARY KEY,
    size   INTEGER NOT NULL
) STRICT;

CREATE TABLE response_uses (
    response_id TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE,
    sha256      TEXT NOT NULL REFERENCES response_media (sha256),
    PRIMARY KEY (response_id, sha256)
) STRICT, WITHOUT ROWID;

CREATE INDEX response_uses_by_hash ON response_uses (sha256);
