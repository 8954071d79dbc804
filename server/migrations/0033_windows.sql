-- Long videos are read in windows, each stored when it is done; jobs can be put first, and all of them paused.

CREATE TABLE windows (
    video_id    TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,                 -- from 0
    start_s     REAL NOT NULL,
    end_s       REAL NOT NULL,
    description TEXT,                             -- NULL: nothing valid came
    moments     TEXT NOT NULL,                    -- JSON; seconds of the whole video
    tags        TEXT NOT NULL,                    -- JSON
    warnings    TEXT NOT NULL,                    -- JSON
    model       TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    PRIMARY KEY (video_id, number)
) STRICT;

ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;  -- more goes first
ALTER TABLE jobs ADD COLUMN parts_done INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN parts INTEGER NOT NULL DEFAULT 0;     -- windows of a long video; 0 for a short one

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
