-- Who started an upload: the user or API key whose unfinished uploads are limited. NULL where no login is required.
ALTER TABLE uploads ADD COLUMN owner TEXT;
