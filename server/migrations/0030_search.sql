-- What can be found: each piece of text about a video and where in it that belongs, and all of it together as one
-- document. Documents find videos, pieces the places in them. Triggers keep both equal to the rows they come from,
-- whoever writes those.

ALTER TABLE videos ADD COLUMN place TEXT;         -- where it was taken, as a person says it
-- Facts of the file that lists are filtered and sorted by.
ALTER TABLE videos ADD COLUMN duration_s REAL GENERATED ALWAYS AS (json_extract(probe, '$.duration_s')) VIRTUAL;
ALTER TABLE videos ADD COLUMN camera TEXT GENERATED ALWAYS AS (json_extract(probe, '$.camera')) VIRTUAL;
ALTER TABLE videos ADD COLUMN taken_ms INTEGER GENERATED ALWAYS AS (
    coalesce(CAST(round((julianday(json_extract(probe, '$.creation_time')) - 2440587.5) * 86400000.0) AS INTEGER),
             created_ms)) VIRTUAL;

CREATE INDEX videos_by_taken ON videos (taken_ms DESC, id DESC);
CREATE INDEX videos_by_camera ON videos (camera);

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
    answer      TEXT NOT NULL DEFAULT ''
) STRICT;

-- Words are found without their endings and without accents.
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
CREATE TRIGGER documents_updated AFTER UPDATE ON documents BEGIN
    INSERT INTO documents_fts (documents_fts, rowid, name, place, camera, description, moment, tag, answer)
        VALUES ('delete', old.id, old.name, old.place, old.camera, old.description, old.moment, old.tag, old.answer);
    INSERT INTO documents_fts (rowid, name, place, camera, description, moment, tag, answer)
        VALUES (new.id, new.name, new.place, new.camera, new.description, new.moment, new.tag, new.answer);
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

-- What was there before.
INSERT INTO pieces (video_id, kind, text) SELECT id, 'name', name FROM videos;
INSERT INTO pieces (video_id, kind, text) SELECT id, 'camera', camera FROM videos WHERE camera IS NOT NULL;
INSERT INTO pieces (video_id, kind, start_s, end_s, text)
    SELECT video_id, kind, start_s, end_s, text FROM text_pieces;
INSERT INTO pieces (video_id, kind, source, text)
    SELECT video_id, 'answer', id, question || char(10) || answer FROM answers WHERE status = 'done';
INSERT INTO documents (video_id, name, camera, description, moment, tag, answer)
    SELECT id, name, coalesce(camera, ''),
           coalesce((SELECT text FROM joined_pieces WHERE video_id = videos.id AND kind = 'description'), ''),
           coalesce((SELECT text FROM joined_pieces WHERE video_id = videos.id AND kind = 'moment'), ''),
           coalesce((SELECT text FROM joined_pieces WHERE video_id = videos.id AND kind = 'tag'), ''),
           coalesce((SELECT text FROM joined_pieces WHERE video_id = videos.id AND kind = 'answer'), '')
        FROM videos;
