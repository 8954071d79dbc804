-- What is said in videos. A row per video, and a row per line.
CREATE TABLE transcripts (
    video_id   TEXT PRIMARY KEY REFERENCES videos (id) ON DELETE CASCADE,
    state      TEXT NOT NULL CHECK (state IN ('listening', 'done', 'failed')),
    position_s REAL NOT NULL DEFAULT 0,           -- all before it is transcribed; a transcription is resumed here
    lines      INTEGER NOT NULL DEFAULT 0,
    indexed    INTEGER NOT NULL DEFAULT 0,        -- lines that are in the search index
    language   TEXT,                              -- code such as 'en'; NULL: not known
    model      TEXT NOT NULL,
    note       TEXT,                              -- why a transcript has no or fewer lines
    error      TEXT,                              -- why it failed
    created_ms INTEGER NOT NULL,
    done_ms    INTEGER
) STRICT;

CREATE TABLE transcript_lines (
    video_id   TEXT NOT NULL REFERENCES transcripts (video_id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,                  -- from 0
    start_s    REAL NOT NULL,
    end_s      REAL NOT NULL,
    text       TEXT NOT NULL,
    language   TEXT,
    confidence REAL NOT NULL,                     -- 0 to 1
    edited_ms  INTEGER,                           -- when a person changed it
    PRIMARY KEY (video_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX transcript_lines_by_time ON transcript_lines (video_id, start_s);

-- New values of two columns. Their CHECK is all that changes, so the tables are not copied, and their triggers and the rows
-- that refer to them stay: https://www.sqlite.org/lang_altertable.html#making_other_kinds_of_table_schema_changes
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = replace(sql, '''answer'')', '''answer'', ''speech'')')
    WHERE type = 'table' AND name = 'pieces';
UPDATE sqlite_master SET sql = replace(sql, '(''ingest'')', '(''ingest'', ''speech'')')
    WHERE type = 'table' AND name = 'jobs';
PRAGMA writable_schema = RESET;

CREATE INDEX jobs_by_kind ON jobs (kind, state);

-- Jobs and windows whose description waits for what is said.
ALTER TABLE jobs ADD COLUMN awaits_speech INTEGER NOT NULL DEFAULT 0 CHECK (awaits_speech IN (0, 1));
ALTER TABLE windows ADD COLUMN undescribed INTEGER NOT NULL DEFAULT 0 CHECK (undescribed IN (0, 1));

-- Speech in the search index. `source` of its pieces is the number of the line.
ALTER TABLE documents ADD COLUMN speech TEXT NOT NULL DEFAULT '';
DROP TRIGGER documents_inserted;
DROP TRIGGER documents_deleted;
DROP TRIGGER documents_updated;
DROP TABLE documents_fts;
CREATE VIRTUAL TABLE documents_fts USING fts5 (
    name, place, camera, description, moment, tag, answer, speech,
    content = 'documents', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2');
INSERT INTO documents_fts (documents_fts) VALUES ('rebuild');

CREATE TRIGGER documents_inserted AFTER INSERT ON documents BEGIN
    INSERT INTO documents_fts (rowid, name, place, camera, description, moment, tag, answer, speech)
        VALUES (new.id, new.name, new.place, new.camera, new.description, new.moment, new.tag, new.answer, new.speech);
END;
CREATE TRIGGER documents_deleted AFTER DELETE ON documents BEGIN
    INSERT INTO documents_fts (documents_fts, rowid, name, place, camera, description, moment, tag, answer, speech)
        VALUES ('delete', old.id, old.name, old.place, old.camera, old.description, old.moment, old.tag, old.answer,
                old.speech);
END;
CREATE TRIGGER documents_updated
AFTER UPDATE OF name, place, camera, description, moment, tag, answer, speech ON documents BEGIN
    INSERT INTO documents_fts (documents_fts, rowid, name, place, camera, description, moment, tag, answer, speech)
        VALUES ('delete', old.id, old.name, old.place, old.camera, old.description, old.moment, old.tag, old.answer,
                old.speech);
    INSERT INTO documents_fts (rowid, name, place, camera, description, moment, tag, answer, speech)
        VALUES (new.id, new.name, new.place, new.camera, new.description, new.moment, new.tag, new.answer, new.speech);
    UPDATE documents SET pieces = (
        SELECT json_group_array(json_array(kind, length(CAST(text AS BLOB)), start_s, end_s, source))
            FROM (SELECT * FROM pieces WHERE video_id = new.video_id ORDER BY id)) WHERE id = new.id;
END;

-- Lines are indexed in groups, because the whole document is indexed again with each of them.
CREATE TRIGGER transcripts_indexed AFTER UPDATE OF indexed ON transcripts WHEN new.indexed > old.indexed BEGIN
    INSERT INTO pieces (video_id, kind, source, start_s, end_s, text)
        SELECT video_id, 'speech', CAST(number AS TEXT), start_s, end_s, text FROM transcript_lines
            WHERE video_id = new.video_id AND number >= old.indexed AND number < new.indexed ORDER BY number;
    UPDATE documents SET speech = coalesce((
        SELECT group_concat(text, char(10)) FROM (
            SELECT text FROM pieces WHERE video_id = new.video_id AND kind = 'speech' ORDER BY id)), '')
        WHERE video_id = new.video_id;
END;
CREATE TRIGGER transcript_lines_updated AFTER UPDATE OF text ON transcript_lines BEGIN
    UPDATE pieces SET text = new.text
        WHERE video_id = new.video_id AND kind = 'speech' AND source = CAST(new.number AS TEXT);
    UPDATE documents SET speech = coalesce((
        SELECT group_concat(text, char(10)) FROM (
            SELECT text FROM pieces WHERE video_id = new.video_id AND kind = 'speech' ORDER BY id)), '')
        WHERE video_id = new.video_id;
END;
CREATE TRIGGER transcripts_deleted AFTER DELETE ON transcripts BEGIN
    DELETE FROM pieces WHERE video_id = old.video_id AND kind = 'speech';
    UPDATE documents SET speech = '' WHERE video_id = old.video_id AND speech <> '';
END;
