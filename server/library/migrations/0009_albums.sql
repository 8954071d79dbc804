-- Albums, and lists that stay quick in a large library: a page reads its rows from an index in the order in which it shows them,
-- and its numbers from one row each. Triggers keep all of it equal to `videos`, `pieces` and `jobs`.

-- What lists are filtered and sorted by. `taken_ms` is the local time at which a video was taken, else added.
ALTER TABLE facts ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE facts ADD COLUMN place TEXT;
ALTER TABLE facts ADD COLUMN undated INTEGER NOT NULL DEFAULT 0;      -- when it was taken is not known
ALTER TABLE facts ADD COLUMN length INTEGER;                          -- 0: at most a minute, 1: 10 minutes, 2: an hour, 3: longer
ALTER TABLE facts ADD COLUMN model TEXT;                              -- which wrote the description
-- The month, such as '2019-07', and the day of any year, such as '07-14'.
ALTER TABLE facts ADD COLUMN month TEXT GENERATED ALWAYS AS (strftime('%Y-%m', taken_ms / 1000.0, 'unixepoch')) VIRTUAL;
ALTER TABLE facts ADD COLUMN day TEXT GENERATED ALWAYS AS (strftime('%m-%d', taken_ms / 1000.0, 'unixepoch')) VIRTUAL;

UPDATE facts SET (created_ms, place, undated, length, model) = (
    SELECT v.created_ms, v.place, v.taken IS NULL,
           CASE WHEN v.duration_s <= 60 THEN 0 WHEN v.duration_s <= 600 THEN 1 WHEN v.duration_s <= 3600 THEN 2
                WHEN v.duration_s > 3600 THEN 3 END,
           (SELECT model FROM texts WHERE video_id = v.id AND kind = 'description')
        FROM videos v WHERE v.id = facts.video_id);

DROP TRIGGER facts_of_documents;
CREATE TRIGGER facts_of_documents AFTER INSERT ON documents BEGIN
    INSERT INTO facts (id, video_id, taken_ms, duration_s, camera, favourite, deleted, created_ms, place, undated, length)
        SELECT new.id, v.id, coalesce(v.local_ms, v.taken_ms), v.duration_s, v.camera, v.favourite,
               v.deleted_ms IS NOT NULL, v.created_ms, v.place, v.taken IS NULL,
               CASE WHEN v.duration_s <= 60 THEN 0 WHEN v.duration_s <= 600 THEN 1 WHEN v.duration_s <= 3600 THEN 2
                    WHEN v.duration_s > 3600 THEN 3 END
            FROM videos v WHERE v.id = new.video_id;
    UPDATE totals SET generation = generation + 1;
END;
DROP TRIGGER facts_of_videos;
CREATE TRIGGER facts_of_videos
AFTER UPDATE OF probe, created_ms, local_ms, taken, place, favourite, deleted_ms ON videos BEGIN
    UPDATE facts SET taken_ms = coalesce(new.local_ms, new.taken_ms), duration_s = new.duration_s, camera = new.camera,
        favourite = new.favourite, deleted = new.deleted_ms IS NOT NULL, created_ms = new.created_ms, place = new.place,
        undated = new.taken IS NULL,
        length = CASE WHEN new.duration_s <= 60 THEN 0 WHEN new.duration_s <= 600 THEN 1 WHEN new.duration_s <= 3600 THEN 2
                      WHEN new.duration_s > 3600 THEN 3 END
        WHERE video_id = new.id;
END;
CREATE TRIGGER model_of_inserted AFTER INSERT ON texts WHEN new.kind = 'description' BEGIN
    UPDATE facts SET model = new.model WHERE video_id = new.video_id;
END;
CREATE TRIGGER model_of_updated AFTER UPDATE OF model ON texts WHEN new.kind = 'description' BEGIN
    UPDATE facts SET model = new.model WHERE video_id = new.video_id;
END;
CREATE TRIGGER model_of_deleted AFTER DELETE ON texts WHEN old.kind = 'description' BEGIN
    UPDATE facts SET model = NULL WHERE video_id = old.video_id;
END;

-- An index for each filter, and two for the orders, which have what a second filter needs. They replace two whose order was that
-- of rows instead of ids, and which SQLite would prefer.
DROP INDEX facts_by_taken;
DROP INDEX facts_by_camera;
CREATE INDEX facts_timeline ON facts (taken_ms DESC, video_id DESC, favourite, length, camera, place, undated) WHERE deleted = 0;
CREATE INDEX facts_added ON facts (created_ms DESC, video_id DESC, favourite, length, camera, place, undated) WHERE deleted = 0;
CREATE INDEX facts_favourites ON facts (taken_ms DESC, video_id DESC) WHERE deleted = 0 AND favourite = 1;
CREATE INDEX facts_undated ON facts (taken_ms DESC, video_id DESC) WHERE deleted = 0 AND undated = 1;
CREATE INDEX facts_places ON facts (place, taken_ms DESC, video_id DESC) WHERE deleted = 0;
CREATE INDEX facts_cameras ON facts (camera, taken_ms DESC, video_id DESC) WHERE deleted = 0;
CREATE INDEX facts_lengths ON facts (length, taken_ms DESC, video_id DESC) WHERE deleted = 0;
CREATE INDEX facts_days ON facts (day, taken_ms DESC, video_id DESC) WHERE deleted = 0 AND undated = 0;
CREATE INDEX videos_trashed ON videos (deleted_ms DESC, id DESC) WHERE deleted_ms IS NOT NULL;

-- How many videos outside the trash have a value.
CREATE TABLE facets (
    kind   TEXT NOT NULL CHECK (kind IN ('month', 'camera', 'place', 'length', 'favourite', 'undated', 'model')),
    value  TEXT NOT NULL,
    videos INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

INSERT INTO facets (kind, value, videos)
    SELECT kind, value, count(*) FROM (
        SELECT 'month' AS kind, month AS value FROM facts WHERE deleted = 0
        UNION ALL SELECT 'camera', camera FROM facts WHERE deleted = 0
        UNION ALL SELECT 'place', place FROM facts WHERE deleted = 0
        UNION ALL SELECT 'length', CAST(length AS TEXT) FROM facts WHERE deleted = 0
        UNION ALL SELECT 'favourite', '1' FROM facts WHERE deleted = 0 AND favourite = 1
        UNION ALL SELECT 'undated', '1' FROM facts WHERE deleted = 0 AND undated = 1
        UNION ALL SELECT 'model', model FROM facts WHERE deleted = 0)
    WHERE value IS NOT NULL GROUP BY kind, value;

-- Triggers of one event may run in any order, so those of `facets` are one per event. They name no conflict clause: that of
-- the statement that caused them would count instead.
CREATE TRIGGER facets_of_inserted AFTER INSERT ON facts WHEN new.deleted = 0 BEGIN
    INSERT INTO facets (kind, value, videos) SELECT k, v, 0 FROM (
        SELECT 'month' AS k, new.month AS v UNION ALL SELECT 'camera', new.camera UNION ALL SELECT 'place', new.place
        UNION ALL SELECT 'length', CAST(new.length AS TEXT) UNION ALL SELECT 'favourite', iif(new.favourite, '1', NULL)
        UNION ALL SELECT 'undated', iif(new.undated, '1', NULL) UNION ALL SELECT 'model', new.model)
        WHERE v IS NOT NULL AND NOT EXISTS (SELECT 1 FROM facets WHERE kind = k AND value = v);
    UPDATE facets SET videos = videos + 1 WHERE (kind, value) IN (
        VALUES ('month', new.month), ('camera', new.camera), ('place', new.place), ('length', CAST(new.length AS TEXT)),
               ('favourite', iif(new.favourite, '1', NULL)), ('undated', iif(new.undated, '1', NULL)), ('model', new.model));
END;
CREATE TRIGGER facets_of_deleted AFTER DELETE ON facts WHEN old.deleted = 0 BEGIN
    UPDATE facets SET videos = videos - 1 WHERE (kind, value) IN (
        VALUES ('month', old.month), ('camera', old.camera), ('place', old.place), ('length', CAST(old.length AS TEXT)),
               ('favourite', iif(old.favourite, '1', NULL)), ('undated', iif(old.undated, '1', NULL)), ('model', old.model));
    DELETE FROM facets WHERE videos = 0 AND (kind, value) IN (
        VALUES ('month', old.month), ('camera', old.camera), ('place', old.place), ('length', CAST(old.length AS TEXT)),
               ('favourite', '1'), ('undated', '1'), ('model', old.model));
END;
CREATE TRIGGER facets_of_updated AFTER UPDATE ON facts
WHEN (old.deleted, old.month, old.camera, old.place, old.length, old.favourite, old.undated, old.model)
    IS NOT (new.deleted, new.month, new.camera, new.place, new.length, new.favourite, new.undated, new.model) BEGIN
    UPDATE facets SET videos = videos - 1 WHERE old.deleted = 0 AND (kind, value) IN (
        VALUES ('month', old.month), ('camera', old.camera), ('place', old.place), ('length', CAST(old.length AS TEXT)),
               ('favourite', iif(old.favourite, '1', NULL)), ('undated', iif(old.undated, '1', NULL)), ('model', old.model));
    INSERT INTO facets (kind, value, videos) SELECT k, v, 0 FROM (
        SELECT 'month' AS k, new.month AS v UNION ALL SELECT 'camera', new.camera UNION ALL SELECT 'place', new.place
        UNION ALL SELECT 'length', CAST(new.length AS TEXT) UNION ALL SELECT 'favourite', iif(new.favourite, '1', NULL)
        UNION ALL SELECT 'undated', iif(new.undated, '1', NULL) UNION ALL SELECT 'model', new.model)
        WHERE new.deleted = 0 AND v IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM facets WHERE kind = k AND value = v);
    UPDATE facets SET videos = videos + 1 WHERE new.deleted = 0 AND (kind, value) IN (
        VALUES ('month', new.month), ('camera', new.camera), ('place', new.place), ('length', CAST(new.length AS TEXT)),
               ('favourite', iif(new.favourite, '1', NULL)), ('undated', iif(new.undated, '1', NULL)), ('model', new.model));
    DELETE FROM facets WHERE videos = 0 AND (kind, value) IN (
        VALUES ('month', old.month), ('camera', old.camera), ('place', old.place), ('length', CAST(old.length AS TEXT)),
               ('favourite', '1'), ('undated', '1'), ('model', old.model));
END;

-- Albums of people. Tags, which models write, are listed beside them and stay what they are.
CREATE TABLE albums (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    folded     TEXT NOT NULL UNIQUE,              -- the name in lower case: two albums may not differ in case alone
    cover      TEXT REFERENCES videos (id) ON DELETE SET NULL, -- as a person chose; NULL: the newest video with a poster
    by_hand    INTEGER NOT NULL DEFAULT 0 CHECK (by_hand IN (0, 1)), -- ordered by hand instead of by date taken
    videos     INTEGER NOT NULL DEFAULT 0,        -- outside the trash
    created_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX albums_by_age ON albums (created_ms DESC, id DESC);
CREATE INDEX albums_by_cover ON albums (cover) WHERE cover IS NOT NULL;

CREATE TABLE album_videos (
    album_id TEXT NOT NULL REFERENCES albums (id) ON DELETE CASCADE,
    video_id TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    sort_key INTEGER NOT NULL,                    -- `facts.taken_ms`; the position in an album that is ordered by hand
    hidden   INTEGER NOT NULL,                    -- is in the trash
    PRIMARY KEY (album_id, video_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX album_videos_in_order ON album_videos (album_id, hidden, sort_key, video_id);
CREATE INDEX album_videos_by_video ON album_videos (video_id);

-- Tags, and the videos that have them.
CREATE TABLE tags (
    tag    TEXT NOT NULL COLLATE NOCASE PRIMARY KEY, -- as it was spelled first
    videos INTEGER NOT NULL DEFAULT 0             -- outside the trash
) STRICT, WITHOUT ROWID;

CREATE INDEX tags_by_size ON tags (videos DESC, tag) WHERE videos > 0;

CREATE TABLE tag_videos (
    tag      TEXT NOT NULL COLLATE NOCASE,
    video_id TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    taken_ms INTEGER NOT NULL,
    hidden   INTEGER NOT NULL,
    PRIMARY KEY (tag, video_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX tag_videos_in_order ON tag_videos (tag, hidden, taken_ms, video_id);
CREATE INDEX tag_videos_by_video ON tag_videos (video_id);

INSERT INTO tag_videos (tag, video_id, taken_ms, hidden)
    SELECT min(p.text), p.video_id, f.taken_ms, f.deleted FROM pieces p JOIN facts f ON f.video_id = p.video_id
        WHERE p.kind = 'tag' GROUP BY p.text COLLATE NOCASE, p.video_id;
INSERT INTO tags (tag, videos) SELECT min(tag), sum(hidden = 0) FROM tag_videos GROUP BY tag;

CREATE TRIGGER tag_videos_inserted AFTER INSERT ON tag_videos BEGIN
    INSERT INTO tags (tag) SELECT new.tag WHERE NOT EXISTS (SELECT 1 FROM tags WHERE tag = new.tag);
    UPDATE tags SET videos = videos + 1 WHERE tag = new.tag AND new.hidden = 0;
END;
CREATE TRIGGER tag_videos_deleted AFTER DELETE ON tag_videos BEGIN
    UPDATE tags SET videos = videos - 1 WHERE tag = old.tag AND old.hidden = 0;
    DELETE FROM tags WHERE tag = old.tag AND NOT EXISTS (SELECT 1 FROM tag_videos WHERE tag = old.tag);
END;
CREATE TRIGGER tag_videos_updated AFTER UPDATE OF hidden ON tag_videos WHEN old.hidden <> new.hidden BEGIN
    UPDATE tags SET videos = videos + iif(new.hidden, -1, 1) WHERE tag = new.tag;
END;
CREATE TRIGGER tags_of_inserted AFTER INSERT ON pieces WHEN new.kind = 'tag' AND new.source IS NULL BEGIN
    INSERT INTO tag_videos (tag, video_id, taken_ms, hidden)
        SELECT new.text, f.video_id, f.taken_ms, f.deleted FROM facts f WHERE f.video_id = new.video_id
        AND NOT EXISTS (SELECT 1 FROM tag_videos WHERE tag = new.text AND video_id = new.video_id);
END;
CREATE TRIGGER tags_of_deleted AFTER DELETE ON pieces WHEN old.kind = 'tag' AND old.source IS NULL BEGIN
    DELETE FROM tag_videos WHERE tag = old.text AND video_id = old.video_id AND NOT EXISTS (
        SELECT 1 FROM pieces WHERE kind = 'tag' AND text = old.text COLLATE NOCASE AND video_id = old.video_id
        AND source IS NULL);
END;

CREATE TRIGGER album_videos_inserted AFTER INSERT ON album_videos BEGIN
    UPDATE albums SET videos = videos + 1 WHERE id = new.album_id AND new.hidden = 0;
END;
CREATE TRIGGER album_videos_deleted AFTER DELETE ON album_videos BEGIN
    UPDATE albums SET videos = videos - (old.hidden = 0), cover = nullif(cover, old.video_id) WHERE id = old.album_id;
END;
CREATE TRIGGER album_videos_updated AFTER UPDATE OF hidden ON album_videos WHEN old.hidden <> new.hidden BEGIN
    UPDATE albums SET videos = videos + iif(new.hidden, -1, 1) WHERE id = new.album_id;
END;

-- The trash hides videos, and a corrected date moves them.
CREATE TRIGGER memberships_of_facts AFTER UPDATE OF taken_ms, deleted ON facts
WHEN old.taken_ms <> new.taken_ms OR old.deleted <> new.deleted BEGIN
    UPDATE album_videos SET hidden = new.deleted WHERE video_id = new.video_id AND hidden <> new.deleted;
    UPDATE album_videos SET sort_key = new.taken_ms WHERE video_id = new.video_id AND sort_key <> new.taken_ms
        AND album_id IN (SELECT id FROM albums WHERE by_hand = 0);
    UPDATE tag_videos SET hidden = new.deleted, taken_ms = new.taken_ms WHERE video_id = new.video_id;
END;

-- The search finds videos by the names of their albums, as by tags: pieces of kind 'tag' whose source is the album.
CREATE INDEX pieces_of_albums ON pieces (source) WHERE kind = 'tag' AND source IS NOT NULL;

CREATE TRIGGER album_videos_found AFTER INSERT ON album_videos BEGIN
    INSERT INTO pieces (video_id, kind, source, text)
        SELECT new.video_id, 'tag', id, name FROM albums WHERE id = new.album_id;
    UPDATE documents SET tag = coalesce((
        SELECT group_concat(text, char(10)) FROM (
            SELECT text FROM pieces WHERE video_id = new.video_id AND kind = 'tag' ORDER BY id)), '')
        WHERE video_id = new.video_id;
END;
CREATE TRIGGER album_videos_lost AFTER DELETE ON album_videos BEGIN
    DELETE FROM pieces WHERE kind = 'tag' AND source = old.album_id AND video_id = old.video_id;
    UPDATE documents SET tag = coalesce((
        SELECT group_concat(text, char(10)) FROM (
            SELECT text FROM pieces WHERE video_id = old.video_id AND kind = 'tag' ORDER BY id)), '')
        WHERE video_id = old.video_id;
END;
CREATE TRIGGER albums_renamed AFTER UPDATE OF name ON albums WHEN new.name <> old.name BEGIN
    UPDATE pieces SET text = new.name WHERE kind = 'tag' AND source = new.id;
    UPDATE documents SET tag = coalesce((
        SELECT group_concat(text, char(10)) FROM (
            SELECT text FROM pieces WHERE video_id = documents.video_id AND kind = 'tag' ORDER BY id)), '')
        WHERE video_id IN (SELECT video_id FROM album_videos WHERE album_id = new.id);
END;

-- The same triggers as before, which leave the pieces of albums alone.
DROP TRIGGER texts_inserted;
CREATE TRIGGER texts_inserted AFTER INSERT ON texts BEGIN
    DELETE FROM pieces WHERE video_id = new.video_id AND source IS NULL
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
DROP TRIGGER texts_updated;
CREATE TRIGGER texts_updated AFTER UPDATE OF content ON texts BEGIN
    DELETE FROM pieces WHERE video_id = new.video_id AND source IS NULL
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
DROP TRIGGER texts_deleted;
CREATE TRIGGER texts_deleted AFTER DELETE ON texts BEGIN
    DELETE FROM pieces WHERE video_id = old.video_id AND source IS NULL
        AND kind = CASE old.kind WHEN 'moments' THEN 'moment' WHEN 'tags' THEN 'tag' ELSE old.kind END;
    UPDATE documents SET
        description = coalesce((SELECT text FROM joined_pieces WHERE video_id = old.video_id AND kind = 'description'), ''),
        moment = coalesce((SELECT text FROM joined_pieces WHERE video_id = old.video_id AND kind = 'moment'), ''),
        tag = coalesce((SELECT text FROM joined_pieces WHERE video_id = old.video_id AND kind = 'tag'), '')
        WHERE video_id = old.video_id;
END;

-- The board of jobs: those that wait in the order in which they will run, all others by their last change.
CREATE INDEX jobs_waiting ON jobs (priority DESC, run_after_ms, id) WHERE state = 'queued';
CREATE INDEX jobs_by_change ON jobs (state, updated_ms DESC, id DESC);
CREATE INDEX jobs_by_age ON jobs (created_ms DESC, id DESC);

CREATE TABLE job_totals (
    state TEXT PRIMARY KEY,
    jobs  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO job_totals (state, jobs)
    SELECT column1, (SELECT count(*) FROM jobs WHERE state = column1)
        FROM (VALUES ('queued'), ('running'), ('done'), ('failed'), ('cancelled'));

CREATE TRIGGER job_totals_of_inserted AFTER INSERT ON jobs BEGIN
    UPDATE job_totals SET jobs = jobs + 1 WHERE state = new.state;
END;
CREATE TRIGGER job_totals_of_deleted AFTER DELETE ON jobs BEGIN
    UPDATE job_totals SET jobs = jobs - 1 WHERE state = old.state;
END;
CREATE TRIGGER job_totals_of_updated AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
    UPDATE job_totals SET jobs = jobs + iif(state = new.state, 1, -1) WHERE state IN (old.state, new.state);
END;
