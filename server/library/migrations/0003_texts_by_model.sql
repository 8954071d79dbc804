-- Finds the videos that another model described, also among ten thousand.
CREATE INDEX texts_by_model ON texts (kind, model, video_id);
