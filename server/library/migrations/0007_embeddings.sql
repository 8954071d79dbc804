-- Vectors of texts, for search by meaning.

-- The models that computed them. Vectors of different models can't be compared.
CREATE TABLE embedding_models (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL,                      -- identifies the vectors: for a local model with a digest of its files
    dimension INTEGER NOT NULL,
    UNIQUE (name, dimension)
) STRICT;

CREATE TABLE embeddings (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,     -- only grows, so that the index in memory reads no more than what is new
    piece  INTEGER NOT NULL REFERENCES pieces (id) ON DELETE CASCADE,
    model  INTEGER NOT NULL REFERENCES embedding_models (id),
    vector BLOB NOT NULL,                         -- f32, little-endian, of length 1
    UNIQUE (piece, model)
) STRICT;

CREATE INDEX embeddings_by_model ON embeddings (model, id);

-- Pieces that the current model has yet to embed.
CREATE TABLE embedding_queue (
    piece INTEGER PRIMARY KEY REFERENCES pieces (id) ON DELETE CASCADE,
    tries INTEGER NOT NULL DEFAULT 0              -- failed ones; those with fewer come first
) STRICT;

CREATE INDEX embedding_queue_by_turn ON embedding_queue (tries, piece DESC);

-- Embeddings that were deleted, until the index in memory has removed them.
CREATE TABLE embeddings_removed (
    id INTEGER PRIMARY KEY
) STRICT;

-- Names of cameras have no meaning, and a tag is a word that is found as such. All other kinds are embedded, also those that
-- later releases add.
INSERT INTO embedding_queue (piece)
    SELECT id FROM pieces WHERE kind NOT IN ('camera', 'tag') AND trim(text) <> '';

CREATE TRIGGER embeddings_of_inserted AFTER INSERT ON pieces
WHEN new.kind NOT IN ('camera', 'tag') AND trim(new.text) <> '' BEGIN
    INSERT OR REPLACE INTO embedding_queue (piece) VALUES (new.id);
END;

CREATE TRIGGER embeddings_of_updated AFTER UPDATE OF text ON pieces WHEN new.text IS NOT old.text BEGIN
    DELETE FROM embeddings WHERE piece = new.id;
    DELETE FROM embedding_queue WHERE piece = new.id;
    INSERT INTO embedding_queue (piece)
        SELECT new.id WHERE new.kind NOT IN ('camera', 'tag') AND trim(new.text) <> '';
END;

-- Also where the piece was deleted, whose deletion cascades.
CREATE TRIGGER embeddings_deleted AFTER DELETE ON embeddings BEGIN
    INSERT OR IGNORE INTO embeddings_removed (id) VALUES (old.id);
END;
