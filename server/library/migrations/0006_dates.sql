-- When a video was taken: by its tags, its name, its file, or a person. A date is a day, a local time, a local time with its
-- offset, or a moment in UTC, as `homereel_video::TakenTime` writes it.
ALTER TABLE videos ADD COLUMN taken TEXT;             -- NULL: unknown
ALTER TABLE videos ADD COLUMN taken_source TEXT;      -- person, camera, container, file_name, file_time
ALTER TABLE videos ADD COLUMN file_name TEXT;         -- the name that the file came with
ALTER TABLE videos ADD COLUMN file_ms INTEGER;        -- the file's own time, as the client says
-- The local time of the place, in milliseconds since 1970 as if it were UTC, which lists are sorted and filtered by: of
-- `taken`, else of `created_ms`. `taken_ms` remains for earlier releases.
ALTER TABLE videos ADD COLUMN local_ms INTEGER;
UPDATE videos SET taken = json_extract(probe, '$.creation_time'),
    taken_source = iif(json_extract(probe, '$.creation_time') IS NULL, NULL,
                       coalesce(json_extract(probe, '$.creation_source'), 'container')),
    file_name = name, local_ms = taken_ms;
CREATE INDEX videos_by_local ON videos (local_ms DESC, id DESC);

-- The file's own time of a resumable upload.
ALTER TABLE uploads ADD COLUMN modified_ms INTEGER;

-- `facts.taken_ms` becomes the local time.
DROP TRIGGER facts_of_documents;
CREATE TRIGGER facts_of_documents AFTER INSERT ON documents BEGIN
    INSERT INTO facts (id, video_id, taken_ms, duration_s, camera, favourite, deleted)
        SELECT new.id, v.id, coalesce(v.local_ms, v.taken_ms), v.duration_s, v.camera, v.favourite,
               v.deleted_ms IS NOT NULL
            FROM videos v WHERE v.id = new.video_id;
    UPDATE totals SET generation = generation + 1;
END;
DROP TRIGGER facts_of_videos;
CREATE TRIGGER facts_of_videos AFTER UPDATE OF probe, created_ms, local_ms, favourite, deleted_ms ON videos BEGIN
    UPDATE facts SET taken_ms = coalesce(new.local_ms, new.taken_ms), duration_s = new.duration_s, camera = new.camera,
        favourite = new.favourite, deleted = new.deleted_ms IS NOT NULL WHERE video_id = new.id;
END;
