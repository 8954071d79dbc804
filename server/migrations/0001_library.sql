-- Videos, the texts that a model made of them, answers and jobs. Times are milliseconds since 1970 (UTC).

CREATE TABLE videos (
    id         TEXT PRIMARY KEY,
    sha256     TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    size       INTEGER NOT NULL,
    mime       TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    probe      TEXT,                              -- homereel_video::Probe as JSON
    poster     TEXT NOT NULL DEFAULT 'pending' CHECK (poster IN ('pending', 'ready', 'failed')),
    error      TEXT                               -- why the video cannot be read
) STRICT;

CREATE INDEX videos_by_time ON videos (created_ms DESC, id DESC);

-- One row per text that a model wrote about a video: what, by which model, with which settings.
CREATE TABLE texts (
    video_id   TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL CHECK (kind IN ('description', 'moments', 'tags')),
    content    TEXT,                              -- plain text, or JSON for moments and tags; NULL: nothing valid came
    warning    TEXT,
    model      TEXT NOT NULL,
    settings   TEXT NOT NULL,                     -- JSON: prompt, sampling of frames and of tokens
    created_ms INTEGER NOT NULL,
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
    updated_ms   INTEGER NOT NULL
) STRICT;

CREATE INDEX jobs_due ON jobs (state, run_after_ms);
CREATE INDEX jobs_by_video ON jobs (video_id);
