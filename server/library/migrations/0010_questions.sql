-- Questions about all videos, with their answers and the notes that the answers rest on.
CREATE TABLE questions (
    id          TEXT PRIMARY KEY,
    question    TEXT NOT NULL,
    answer      TEXT NOT NULL DEFAULT '',
    status      TEXT NOT NULL CHECK (status IN ('running', 'done', 'failed', 'cancelled')),
    error       TEXT,
    model       TEXT,                             -- NULL: no model was needed
    created_ms  INTEGER NOT NULL,
    finished_ms INTEGER
) STRICT;

-- Notes of a video leave with it.
CREATE TABLE question_notes (
    question_id TEXT NOT NULL REFERENCES questions (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,                 -- from 1, as the answer cites it
    video_id    TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    start_s     REAL,
    text        TEXT NOT NULL,
    PRIMARY KEY (question_id, number)
) STRICT;

CREATE INDEX question_notes_by_video ON question_notes (video_id);
