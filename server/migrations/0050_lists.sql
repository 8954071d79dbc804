-- What lists and searches read at a glance, however many videos there are: totals instead of counting, and the few
-- facts of a video that filters ask, without its long texts. Triggers keep both equal to the rows they come from.

-- One row. `generation` grows with every change of what a search may find or show.
CREATE TABLE totals (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    videos      INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    trash       INTEGER NOT NULL,
    trash_bytes INTEGER NOT NULL,
    generation  INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO totals (one, videos, bytes, trash, trash_bytes)
    SELECT 1, count(*) FILTER (WHERE deleted_ms IS NULL),
           coalesce(sum(size) FILTER (WHERE deleted_ms IS NULL), 0),
           count(*) FILTER (WHERE deleted_ms IS NOT NULL),
           coalesce(sum(size) FILTER (WHERE deleted_ms IS NOT NULL), 0) FROM videos;

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

-- By the id of the video's document, so that a hit in the index of words leads straight to it.
CREATE TABLE facts (
    id         INTEGER PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
    video_id   TEXT NOT NULL UNIQUE,
    taken_ms   INTEGER NOT NULL,
    duration_s REAL,
    camera     TEXT,
    favourite  INTEGER NOT NULL,
    deleted    INTEGER NOT NULL                   -- lies in the trash
) STRICT;

INSERT INTO facts (id, video_id, taken_ms, duration_s, camera, favourite, deleted)
    SELECT d.id, v.id, v.taken_ms, v.duration_s, v.camera, v.favourite, v.deleted_ms IS NOT NULL
        FROM documents d JOIN videos v ON v.id = d.video_id;

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

-- Which videos have a tag, without a look at the pieces themselves.
CREATE INDEX videos_by_tag ON pieces (text COLLATE NOCASE, video_id) WHERE kind = 'tag';
