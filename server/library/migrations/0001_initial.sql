-- The schema of version 0.1.0. Times are milliseconds since 1970 (UTC).

CREATE TABLE videos (
    id         TEXT PRIMARY KEY,
    sha256     TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    size       INTEGER NOT NULL,
    mime       TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    probe      TEXT,                              -- homereel_video::Probe as JSON
    poster     TEXT NOT NULL DEFAULT 'pending' CHECK (poster IN ('pending', 'ready', 'failed')),
    error      TEXT,                              -- why the video cannot be read
    place      TEXT,                              -- where it was taken, as entered by a person
    -- Facts of the file that lists are filtered and sorted by.
    duration_s REAL GENERATED ALWAYS AS (json_extract(probe, '$.duration_s')) VIRTUAL,
    camera     TEXT GENERATED ALWAYS AS (json_extract(probe, '$.camera')) VIRTUAL,
    taken_ms   INTEGER GENERATED ALWAYS AS (
        coalesce(CAST(round((julianday(json_extract(probe, '$.creation_time')) - 2440587.5) * 86400000.0) AS INTEGER),
                 created_ms)) VIRTUAL,
    deleted_ms INTEGER,                           -- in the trash since then
    favourite  INTEGER NOT NULL DEFAULT 0 CHECK (favourite IN (0, 1))
) STRICT;

CREATE INDEX videos_by_taken ON videos (taken_ms DESC, id DESC);
CREATE INDEX videos_by_camera ON videos (camera);
CREATE INDEX videos_by_time ON videos (created_ms DESC, id DESC) WHERE deleted_ms IS NULL;
CREATE INDEX videos_by_size ON videos (size, deleted_ms);
CREATE INDEX videos_in_trash ON videos (deleted_ms) WHERE deleted_ms IS NOT NULL;

-- Originals whose rows are deleted for good and whose files are deleted next: a crash in between must not bring them
-- back.
CREATE TABLE doomed (
    sha256 TEXT PRIMARY KEY
) STRICT;

-- One row per text that a model wrote about a video: what, by which model, with which settings.
CREATE TABLE texts (
    video_id   TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL CHECK (kind IN ('description', 'moments', 'tags')),
    content    TEXT,                              -- plain text, or JSON for moments and tags; NULL: the model's answer was not valid
    warning    TEXT,
    model      TEXT NOT NULL,
    settings   TEXT NOT NULL,                     -- JSON: prompt, sampling of frames and of tokens
    created_ms INTEGER NOT NULL,
    edited_ms  INTEGER,                           -- when a person changed it
    PRIMARY KEY (video_id, kind)
) STRICT;

CREATE TABLE answers (
    id            TEXT PRIMARY KEY,
    video_id      TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    question      TEXT NOT NULL,
    answer        TEXT NOT NULL DEFAULT '',
    status        TEXT NOT NULL CHECK (status IN ('running', 'done', 'failed', 'cancelled')),
    error         TEXT,
    model         TEXT NOT NULL,
    finish_reason TEXT,
    settings      TEXT NOT NULL,                  -- JSON: sampling of frames and of tokens
    usage         TEXT,                           -- JSON
    stages_ms     TEXT,                           -- JSON
    media         TEXT,                           -- JSON: frames, timestamps, size, warnings
    created_ms    INTEGER NOT NULL,
    finished_ms   INTEGER
) STRICT;

CREATE INDEX answers_by_video ON answers (video_id, created_ms DESC);

CREATE TABLE jobs (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL CHECK (kind IN ('ingest')),
    video_id     TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    state        TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    step         TEXT NOT NULL,                   -- the step that runs or comes next; finished steps are not repeated
    attempts     INTEGER NOT NULL DEFAULT 0,
    run_after_ms INTEGER NOT NULL,
    lease_ms     INTEGER,                         -- until when the running process holds the job
    error        TEXT,
    warnings     TEXT NOT NULL DEFAULT '[]',
    created_ms   INTEGER NOT NULL,
    updated_ms   INTEGER NOT NULL,
    priority     INTEGER NOT NULL DEFAULT 0,      -- higher ones run first
    parts_done   INTEGER NOT NULL DEFAULT 0,
    parts        INTEGER NOT NULL DEFAULT 0       -- windows of a long video; 0 for a short one
) STRICT;

CREATE INDEX jobs_due ON jobs (state, run_after_ms);
CREATE INDEX jobs_by_video ON jobs (video_id);

-- The search index: each piece of text about a video with its time, and all pieces of a video together as one document.
-- Documents find videos, pieces the times in them. Triggers keep both equal to the rows they come from.

CREATE TABLE pieces (
    id       INTEGER PRIMARY KEY,
    video_id TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    kind     TEXT NOT NULL CHECK (kind IN ('name', 'place', 'camera', 'description', 'moment', 'tag', 'answer')),
    source   TEXT,                                -- id of the answer
    start_s  REAL,                                -- of a moment
    end_s    REAL,
    text     TEXT NOT NULL
) STRICT;

CREATE INDEX pieces_by_video ON pieces (video_id, kind);
CREATE INDEX pieces_by_tag ON pieces (text COLLATE NOCASE) WHERE kind = 'tag';

-- A video's pieces by kind, joined.
CREATE TABLE documents (
    id          INTEGER PRIMARY KEY,
    video_id    TEXT NOT NULL UNIQUE REFERENCES videos (id) ON DELETE CASCADE,
    name        TEXT NOT NULL DEFAULT '',
    place       TEXT NOT NULL DEFAULT '',
    camera      TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL DEFAULT '',
    moment      TEXT NOT NULL DEFAULT '',
    tag         TEXT NOT NULL DEFAULT '',
    answer      TEXT NOT NULL DEFAULT '',
    pieces      TEXT NOT NULL DEFAULT '[]'        -- [[kind, bytes, start_s, end_s, source], …] in the order in which they are joined
) STRICT;

-- Words match without their endings and without accents.
CREATE VIRTUAL TABLE documents_fts USING fts5 (
    name, place, camera, description, moment, tag, answer,
    content = 'documents', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE pieces_fts USING fts5 (
    text, content = 'pieces', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2');

CREATE TRIGGER pieces_inserted AFTER INSERT ON pieces BEGIN
    INSERT INTO pieces_fts (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER pieces_deleted AFTER DELETE ON pieces BEGIN
    INSERT INTO pieces_fts (pieces_fts, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER pieces_updated AFTER UPDATE OF text ON pieces BEGIN
    INSERT INTO pieces_fts (pieces_fts, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO pieces_fts (rowid, text) VALUES (new.id, new.text);
END;

CREATE TRIGGER documents_inserted AFTER INSERT ON documents BEGIN
    INSERT INTO documents_fts (rowid, name, place, camera, description, moment, tag, answer)
        VALUES (new.id, new.name, new.place, new.camera, new.description, new.moment, new.tag, new.answer);
END;
CREATE TRIGGER documents_deleted AFTER DELETE ON documents BEGIN
    INSERT INTO documents_fts (documents_fts, rowid, name, place, camera, description, moment, tag, answer)
        VALUES ('delete', old.id, old.name, old.place, old.camera, old.description, old.moment, old.tag, old.answer);
END;
-- The joined pieces of one kind, as a column of a document.
CREATE VIEW joined_pieces AS
    SELECT video_id, kind, group_concat(text, char(10)) AS text FROM pieces GROUP BY video_id, kind;

CREATE TRIGGER videos_inserted AFTER INSERT ON videos BEGIN
    INSERT INTO pieces (video_id, kind, text) VALUES (new.id, 'name', new.name);
    INSERT INTO pieces (video_id, kind, text) SELECT new.id, 'place', new.place WHERE new.place IS NOT NULL;
    INSERT INTO pieces (video_id, kind, text) SELECT new.id, 'camera', new.camera WHERE new.camera IS NOT NULL;
    INSERT INTO documents (video_id, name, place, camera)
        VALUES (new.id, new.name, coalesce(new.place, ''), coalesce(new.camera, ''));
END;
CREATE TRIGGER videos_updated AFTER UPDATE OF name, place, probe ON videos
WHEN new.name IS NOT old.name OR new.place IS NOT old.place OR new.camera IS NOT old.camera BEGIN
    DELETE FROM pieces WHERE video_id = new.id AND kind IN ('name', 'place', 'camera');
    INSERT INTO pieces (video_id, kind, text) VALUES (new.id, 'name', new.name);
    INSERT INTO pieces (video_id, kind, text) SELECT new.id, 'place', new.place WHERE new.place IS NOT NULL;
    INSERT INTO pieces (video_id, kind, text) SELECT new.id, 'camera', new.camera WHERE new.camera IS NOT NULL;
    UPDATE documents SET name = new.name, place = coalesce(new.place, ''), camera = coalesce(new.camera, '')
        WHERE video_id = new.id;
END;

CREATE VIEW text_pieces AS
    SELECT video_id, 'description' AS kind, NULL AS start_s, NULL AS end_s, content AS text
        FROM texts WHERE kind = 'description' AND content IS NOT NULL
    UNION ALL
    SELECT video_id, 'moment', CAST(json_extract(value, '$.start') AS REAL),
           CAST(json_extract(value, '$.end') AS REAL), json_extract(value, '$.text')
        FROM texts, json_each(texts.content) WHERE kind = 'moments' AND content IS NOT NULL
    UNION ALL
    SELECT video_id, 'tag', NULL, NULL, value
        FROM texts, json_each(texts.content) WHERE kind = 'tags' AND content IS NOT NULL;

CREATE TRIGGER texts_inserted AFTER INSERT ON texts BEGIN
    DELETE FROM pieces WHERE video_id = new.video_id
        AND kind = CASE new.kind WHEN 'moments' THEN 'moment' WHEN 'tags' THEN 'tag' ELSE new.kind END;
    INSERT INTO pieces (video_id, kind, start_s, end_s, text)
        SELECT video_id, kind, start_s, end_s, text FROM text_pieces WHERE video_id = new.video_id
        AND kind = CASE new.kind WHEN 'moments' THEN 'moment' WHEN 'tags' THEN 'tag' ELSE new.kind END;
    UPDATE documents SET
        description = coalesce((SELECT text FROM joined_pieces WHERE video_id = new.video_id AND kind = 'description'), ''),
        moment = coalesce((SELECT text FROM joined_pieces WHERE video_id = new.video_id AND kind = 'moment'), ''),
        tag = coalesce((SELECT text FROM joined_pieces WHERE video_id = new.video_id AND kind = 'tag'), '')
        WHERE video_id = new.video_id;
END;
CREATE TRIGGER texts_updated AFTER UPDATE OF content ON texts BEGIN
    DELETE FROM pieces WHERE video_id = new.video_id
        AND kind = CASE new.kind WHEN 'moments' THEN 'moment' WHEN 'tags' THEN 'tag' ELSE new.kind END;
    INSERT INTO pieces (video_id, kind, start_s, end_s, text)
        SELECT video_id, kind, start_s, end_s, text FROM text_pieces WHERE video_id = new.video_id
        AND kind = CASE new.kind WHEN 'moments' THEN 'moment' WHEN 'tags' THEN 'tag' ELSE new.kind END;
    UPDATE documents SET
        description = coalesce((SELECT text FROM joined_pieces WHERE video_id = new.video_id AND kind = 'description'), ''),
        moment = coalesce((SELECT text FROM joined_pieces WHERE video_id = new.video_id AND kind = 'moment'), ''),
        tag = coalesce((SELECT text FROM joined_pieces WHERE video_id = new.video_id AND kind = 'tag'), '')
        WHERE video_id = new.video_id;
END;
CREATE TRIGGER texts_deleted AFTER DELETE ON texts BEGIN
    DELETE FROM pieces WHERE video_id = old.video_id
        AND kind = CASE old.kind WHEN 'moments' THEN 'moment' WHEN 'tags' THEN 'tag' ELSE old.kind END;
    UPDATE documents SET
        description = coalesce((SELECT text FROM joined_pieces WHERE video_id = old.video_id AND kind = 'description'), ''),
        moment = coalesce((SELECT text FROM joined_pieces WHERE video_id = old.video_id AND kind = 'moment'), ''),
        tag = coalesce((SELECT text FROM joined_pieces WHERE video_id = old.video_id AND kind = 'tag'), '')
        WHERE video_id = old.video_id;
END;

CREATE TRIGGER answers_done AFTER UPDATE OF status ON answers WHEN new.status = 'done' BEGIN
    DELETE FROM pieces WHERE video_id = new.video_id AND kind = 'answer' AND source = new.id;
    INSERT INTO pieces (video_id, kind, source, text)
        VALUES (new.video_id, 'answer', new.id, new.question || char(10) || new.answer);
    UPDATE documents SET answer = coalesce((SELECT text FROM joined_pieces WHERE video_id = new.video_id AND kind = 'answer'), '')
        WHERE video_id = new.video_id;
END;
CREATE TRIGGER answers_deleted AFTER DELETE ON answers BEGIN
    DELETE FROM pieces WHERE video_id = old.video_id AND kind = 'answer' AND source = old.id;
    UPDATE documents SET answer = coalesce((SELECT text FROM joined_pieces WHERE video_id = old.video_id AND kind = 'answer'), '')
        WHERE video_id = old.video_id;
END;

-- Resumable uploads (tus). The bytes are in `uploads/ID` until the upload is complete.
CREATE TABLE uploads (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    length     INTEGER NOT NULL,
    received   INTEGER NOT NULL DEFAULT 0,        -- bytes that are durable; at most this is acknowledged
    metadata   TEXT NOT NULL DEFAULT '',          -- Upload-Metadata as received
    claimed    TEXT,                              -- SHA-256 as the client says: identifies a second attempt
    sha256     TEXT,                              -- SHA-256 as computed here, once complete
    state      TEXT NOT NULL DEFAULT 'receiving' CHECK (state IN ('receiving', 'storing', 'done', 'refused')),
    video_id   TEXT REFERENCES videos (id) ON DELETE SET NULL,
    duplicate  INTEGER NOT NULL DEFAULT 0,
    error      TEXT,                              -- why it was rejected
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX uploads_by_claim ON uploads (claimed) WHERE claimed IS NOT NULL;
CREATE INDEX uploads_by_expiry ON uploads (expires_ms);

-- Long videos are described window by window, each stored when it is done.

CREATE TABLE windows (
    video_id    TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,                 -- from 0
    start_s     REAL NOT NULL,
    end_s       REAL NOT NULL,
    description TEXT,                             -- NULL: the model's answer was not valid
    moments     TEXT NOT NULL,                    -- JSON; seconds of the whole video
    tags        TEXT NOT NULL,                    -- JSON
    warnings    TEXT NOT NULL,                    -- JSON
    model       TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    PRIMARY KEY (video_id, number)
) STRICT;

-- Settings that are changed at run time: whether jobs are paused.
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Files of the watched directory that were imported or rejected: each is imported once, however often the server starts.
CREATE TABLE watched (
    path        TEXT PRIMARY KEY,
    size        INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    outcome     TEXT NOT NULL                     -- 'imported', or why not
) STRICT;

-- What keeps lists and searches fast with many videos: totals instead of counting, and the facts of a video that filters
-- need, without its long texts. Triggers keep both equal to the rows they come from.

-- One row. `generation` grows with every change that may change the results of a search.
CREATE TABLE totals (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    videos      INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    trash       INTEGER NOT NULL,
    trash_bytes INTEGER NOT NULL,
    generation  INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO totals (one, videos, bytes, trash, trash_bytes) VALUES (1, 0, 0, 0, 0);

CREATE TRIGGER totals_of_inserted AFTER INSERT ON videos BEGIN
    UPDATE totals SET videos = videos + (new.deleted_ms IS NULL),
        bytes = bytes + iif(new.deleted_ms IS NULL, new.size, 0),
        trash = trash + (new.deleted_ms IS NOT NULL),
        trash_bytes = trash_bytes + iif(new.deleted_ms IS NULL, 0, new.size), generation = generation + 1;
END;
CREATE TRIGGER totals_of_deleted AFTER DELETE ON videos BEGIN
    UPDATE totals SET videos = videos - (old.deleted_ms IS NULL),
        bytes = bytes - iif(old.deleted_ms IS NULL, old.size, 0),
        trash = trash - (old.deleted_ms IS NOT NULL),
        trash_bytes = trash_bytes - iif(old.deleted_ms IS NULL, 0, old.size), generation = generation + 1;
END;
CREATE TRIGGER totals_of_updated AFTER UPDATE ON videos BEGIN
    UPDATE totals SET videos = videos + (new.deleted_ms IS NULL) - (old.deleted_ms IS NULL),
        bytes = bytes + iif(new.deleted_ms IS NULL, new.size, 0) - iif(old.deleted_ms IS NULL, old.size, 0),
        trash = trash + (new.deleted_ms IS NOT NULL) - (old.deleted_ms IS NOT NULL),
        trash_bytes = trash_bytes + iif(new.deleted_ms IS NULL, 0, new.size)
            - iif(old.deleted_ms IS NULL, 0, old.size), generation = generation + 1;
END;

-- Keyed by the id of the video's document, so that a hit in the index leads straight to it.
CREATE TABLE facts (
    id         INTEGER PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
    video_id   TEXT NOT NULL UNIQUE,
    taken_ms   INTEGER NOT NULL,
    duration_s REAL,
    camera     TEXT,
    favourite  INTEGER NOT NULL,
    deleted    INTEGER NOT NULL                   -- is in the trash
) STRICT;

CREATE INDEX facts_by_taken ON facts (deleted, taken_ms DESC, id DESC);
CREATE INDEX facts_by_camera ON facts (camera, deleted, taken_ms DESC, id DESC);

CREATE TRIGGER facts_of_documents AFTER INSERT ON documents BEGIN
    INSERT INTO facts (id, video_id, taken_ms, duration_s, camera, favourite, deleted)
        SELECT new.id, v.id, v.taken_ms, v.duration_s, v.camera, v.favourite, v.deleted_ms IS NOT NULL
            FROM videos v WHERE v.id = new.video_id;
    UPDATE totals SET generation = generation + 1;
END;
CREATE TRIGGER generation_of_documents AFTER UPDATE ON documents BEGIN
    UPDATE totals SET generation = generation + 1;
END;
CREATE TRIGGER facts_of_videos AFTER UPDATE OF probe, created_ms, favourite, deleted_ms ON videos BEGIN
    UPDATE facts SET taken_ms = new.taken_ms, duration_s = new.duration_s, camera = new.camera,
        favourite = new.favourite, deleted = new.deleted_ms IS NOT NULL WHERE video_id = new.id;
END;

-- Which videos have a tag, without reading the pieces themselves.
CREATE INDEX videos_by_tag ON pieces (text COLLATE NOCASE, video_id) WHERE kind = 'tag';

-- Users, sessions and API keys. Secrets are stored as hashes only: passwords by argon2id, tokens (32 random bytes) by
-- SHA-256.
CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    role          TEXT NOT NULL CHECK (role IN ('viewer', 'member', 'admin')),
    password_hash TEXT NOT NULL,
    created_ms    INTEGER NOT NULL,
    changed_ms    INTEGER NOT NULL                -- when the password was set
) STRICT;

CREATE TABLE sessions (
    token_hash TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_by_user ON sessions (user_id, expires_ms);

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    role         TEXT NOT NULL CHECK (role IN ('viewer', 'member', 'admin')),
    token_hash   TEXT NOT NULL UNIQUE,
    created_ms   INTEGER NOT NULL,
    last_used_ms INTEGER
) STRICT;

-- One-time links that set the household's password.
CREATE TABLE login_links (
    token_hash TEXT PRIMARY KEY,
    expires_ms INTEGER NOT NULL
) STRICT;

-- Lists the pieces of a document when it is joined, so that no search has to count them. Written without a view, which
-- SQLite would read whole.
CREATE TRIGGER documents_listed AFTER INSERT ON documents BEGIN
    UPDATE documents SET pieces = (
        SELECT json_group_array(json_array(kind, length(CAST(text AS BLOB)), start_s, end_s, source))
            FROM (SELECT * FROM pieces WHERE video_id = new.video_id ORDER BY id)) WHERE id = new.id;
END;

CREATE TRIGGER documents_updated AFTER UPDATE OF name, place, camera, description, moment, tag, answer ON documents BEGIN
    INSERT INTO documents_fts (documents_fts, rowid, name, place, camera, description, moment, tag, answer)
        VALUES ('delete', old.id, old.name, old.place, old.camera, old.description, old.moment, old.tag, old.answer);
    INSERT INTO documents_fts (rowid, name, place, camera, description, moment, tag, answer)
        VALUES (new.id, new.name, new.place, new.camera, new.description, new.moment, new.tag, new.answer);
    UPDATE documents SET pieces = (
        SELECT json_group_array(json_array(kind, length(CAST(text AS BLOB)), start_s, end_s, source))
            FROM (SELECT * FROM pieces WHERE video_id = new.video_id ORDER BY id)) WHERE id = new.id;
END;
