-- What a household keeps: a trash, favourites, and texts that a person wrote over a model's.

ALTER TABLE videos ADD COLUMN deleted_ms INTEGER;             -- in the trash since
ALTER TABLE videos ADD COLUMN favourite INTEGER NOT NULL DEFAULT 0 CHECK (favourite IN (0, 1));
ALTER TABLE texts ADD COLUMN edited_ms INTEGER;               -- a person changed it then

DROP INDEX videos_by_time;
CREATE INDEX videos_by_time ON videos (created_ms DESC, id DESC) WHERE deleted_ms IS NULL;
CREATE INDEX videos_by_size ON videos (size, deleted_ms);
CREATE INDEX videos_in_trash ON videos (deleted_ms) WHERE deleted_ms IS NOT NULL;

-- Originals whose rows are deleted for good and whose files go next: a crash in between must not bring them back.
CREATE TABLE doomed (
    sha256 TEXT PRIMARY KEY
) STRICT;
