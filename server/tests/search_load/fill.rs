//! Fills a library with rows as uploads and models would, without files.

use homereel_library::{EmbeddingModel, Library, new_id};
use sqlx::{Sqlite, Transaction};

/// Name of the model that the vectors are of.
pub(crate) const MODEL: &str = "random";

/// Numbers per vector.
pub(crate) const DIMENSION: usize = 384;

/// Videos, and texts of each: 20 moments and 50 lines of speech. All are rows of one kind, since search by meaning treats all
/// kinds alike.
pub(crate) const VIDEOS: usize = 10_000;
const TEXTS: usize = 70;

/// Videos per transaction.
const AT_ONCE: usize = 200;

/// Words that texts and queries are made of, from frequent to rare.
const WORDS: usize = 4000;

/// xorshift: the same numbers in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 to 1.
    fn share(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A word; half of all are among the first 60.
    fn word(&mut self) -> String {
        let number = (WORDS as f32).powf(self.share()) as usize;
        format!("word{number}")
    }

    fn text(&mut self) -> String {
        let count = 5 + self.next() % 8;
        (0..count).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    /// A vector of length 1. All have a part in common, as those of sentence models do: their cosines are around 0.5, so that the
    /// nearest are above the limit of related texts.
    pub(crate) fn vector(&mut self) -> Vec<f32> {
        // The sum of four is nearly normally distributed, with a deviation of 0.58.
        let value = |random: &mut Self| 0.58 + (0..4).map(|_| random.share() - 0.5).sum::<f32>();
        let vector: Vec<f32> = (0..DIMENSION).map(|_| value(self)).collect();
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.into_iter().map(|value| value / length).collect()
    }
}

/// Two words, as people search.
pub(crate) fn query(random: &mut Random) -> String {
    format!("{} {}", random.word(), random.word())
}

/// Fills the library, and returns the number of texts with a vector.
pub(crate) async fn fill(library: &Library) -> u64 {
    let model = library.embedding_model(MODEL, DIMENSION).await.unwrap();
    let mut random = Random::new(1);
    for first in (0..VIDEOS).step_by(AT_ONCE) {
        let mut transaction = library.pool().begin_with("BEGIN IMMEDIATE").await.unwrap();
        for number in first..first + AT_ONCE {
            video(&mut transaction, &mut random, number, model).await;
        }
        // Names have no vectors here.
        sqlx::query("DELETE FROM embedding_queue").execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }
    (VIDEOS * TEXTS) as u64
}

async fn video(
    transaction: &mut Transaction<'static, Sqlite>,
    random: &mut Random,
    number: usize,
    model: EmbeddingModel,
) {
    let (id, taken) = (new_id(), 1_500_000_000_000 + number as i64 * 3_600_000);
    sqlx::query(
        "INSERT INTO videos (id, sha256, name, size, mime, created_ms, local_ms, poster)
         VALUES (?1, ?1 || ?1, ?2, 1000, 'video/mp4', ?3, ?3, 'failed')",
    )
    .bind(&id)
    .bind(format!("clip {number:05}.mp4"))
    .bind(taken)
    .execute(&mut **transaction)
    .await
    .unwrap();
    let mut texts = Vec::with_capacity(TEXTS);
    for at in 0..TEXTS {
        let text = random.text();
        let piece = sqlx::query(
            "INSERT INTO pieces (video_id, kind, start_s, end_s, text) VALUES (?, 'moment', ?, ?, ?)",
        )
        .bind(&id)
        .bind(at as f64 * 3.0)
        .bind(at as f64 * 3.0 + 3.0)
        .bind(&text)
        .execute(&mut **transaction)
        .await
        .unwrap()
        .last_insert_rowid();
        texts.push(text);
        let vector: Vec<u8> = random.vector().iter().flat_map(|value| value.to_le_bytes()).collect();
        sqlx::query("INSERT INTO embeddings (piece, model, vector) SELECT ?, id, ? FROM embedding_models WHERE dimension = ?")
            .bind(piece)
            .bind(vector)
            .bind(model.dimension() as i64)
            .execute(&mut **transaction)
            .await
            .unwrap();
    }
    sqlx::query("UPDATE documents SET moment = ? WHERE video_id = ?")
        .bind(texts.join("\n"))
        .bind(&id)
        .execute(&mut **transaction)
        .await
        .unwrap();
}
