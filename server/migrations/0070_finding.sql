-- Which pieces a document was joined from, told once where it is joined rather than counted for each search that finds it.
-- Written for any SQLite of late, for scripts come with their own; a view over all pieces would be read whole.

ALTER TABLE documents ADD COLUMN pieces TEXT NOT NULL DEFAULT '[]'; -- [[kind, bytes, start_s, end_s, source], …] in order

CREATE TRIGGER documents_listed AFTER INSERT ON documents BEGIN
    UPDATE documents SET pieces = (
        SELECT json_group_array(json_array(kind, length(CAST(text AS BLOB)), start_s, end_s, source))
            FROM (SELECT * FROM pieces WHERE video_id = new.video_id ORDER BY id)) WHERE id = new.id;
END;

-- As before, but for the columns that are indexed only, and with the list.
DROP TRIGGER documents_updated;
CREATE TRIGGER documents_updated AFTER UPDATE OF name, place, camera, description, moment, tag, answer ON documents BEGIN
    INSERT INTO documents_fts (documents_fts, rowid, name, place, camera, description, moment, tag, answer)
        VALUES ('delete', old.id, old.name, old.place, old.camera, old.description, old.moment, old.tag, old.answer);
    INSERT INTO documents_fts (rowid, name, place, camera, description, moment, tag, answer)
        VALUES (new.id, new.name, new.place, new.camera, new.description, new.moment, new.tag, new.answer);
    UPDATE documents SET pieces = (
        SELECT json_group_array(json_array(kind, length(CAST(text AS BLOB)), start_s, end_s, source))
            FROM (SELECT * FROM pieces WHERE video_id = new.video_id ORDER BY id)) WHERE id = new.id;
END;

UPDATE documents SET pieces = (
    SELECT json_group_array(json_array(kind, length(CAST(text AS BLOB)), start_s, end_s, source))
        FROM (SELECT * FROM pieces WHERE video_id = documents.video_id ORDER BY id));
