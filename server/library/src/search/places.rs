//! Finds where in a video a search matched, and builds the snippets. A document of the index joins many texts; its
//! highlighted columns are split back into those texts, each with its time.

use std::collections::HashMap;

use sqlx::{Row, sqlite::SqliteRow};

use super::{
    query::{Query, split},
    results::{DocumentHit, Hit, PieceKind, SnippetPart, Why},
};
use crate::{error::LibraryError, library::Library, values::to_json};

/// Columns of a document, in order.
const COLUMNS: [PieceKind; 8] = [
    PieceKind::Name,
    PieceKind::Place,
    PieceKind::Camera,
    PieceKind::Description,
    PieceKind::Moment,
    PieceKind::Tag,
    PieceKind::Answer,
    PieceKind::Speech,
];

/// Texts per page of results that are scanned for letters that are not words.
const MAX_LIKE: i64 = 2000;

/// Matches shown per video.
pub(super) const PLACES: usize = 4;

/// Maximum characters of a snippet, and of its part before the first match.
const SNIPPET: usize = 240;
const BEFORE: usize = 80;

/// Marks that the index puts around a match.
const OPEN: char = '\u{2}';
const CLOSE: char = '\u{3}';

/// Kind, bytes, start, end and source (of an answer its id, of speech the number of the line) of a piece of a document.
type DocumentPiece<'a> = (&'a str, usize, Option<f64>, Option<f64>, Option<&'a str>);

/// Scored matches by document.
type Scored = HashMap<i64, Vec<(f64, Hit)>>;

impl Library {
    /// Returns the best matches by document, those with the most terms first.
    pub(super) async fn places(
        &self,
        query: &Query,
        hits: &[DocumentHit],
    ) -> Result<HashMap<i64, Vec<Hit>>, LibraryError> {
        let (matches, likes) = split(&query.wanted);
        // SQLite has no list parameters, so the ids are passed as a JSON array.
        let documents: Vec<i64> = hits.iter().map(|hit| hit.document).collect();
        let among = to_json("documents", &documents)?;
        let mut scored = Scored::new();
        if !matches.is_empty() {
            // The plus disables the index on rowid: one scan of the matches instead of one per document.
            let rows = sqlx::query(
                "SELECT d.id, highlight(documents_fts, 0, char(2), char(3)),
                     highlight(documents_fts, 1, char(2), char(3)), highlight(documents_fts, 2, char(2), char(3)),
                     highlight(documents_fts, 3, char(2), char(3)), highlight(documents_fts, 4, char(2), char(3)),
                     highlight(documents_fts, 5, char(2), char(3)), highlight(documents_fts, 6, char(2), char(3)),
                     highlight(documents_fts, 7, char(2), char(3)), d.pieces
                 FROM documents_fts CROSS JOIN documents d ON d.id = documents_fts.rowid
                 WHERE documents_fts MATCH ? AND documents_fts.rowid BETWEEN ? AND ?
                     AND +documents_fts.rowid IN (SELECT value FROM json_each(?))",
            )
            .bind(matches.join(" AND "))
            .bind(documents.iter().min())
            .bind(documents.iter().max())
            .bind(&among)
            .fetch_all(&self.pool)
            .await?;
            for row in rows {
                scored.insert(row.try_get(0)?, marked(&row)?);
            }
        }
        for like in likes {
            let rows = sqlx::query(
                "SELECT d.id AS document, p.* FROM json_each(?) v CROSS JOIN documents d ON d.id = v.value
                     CROSS JOIN pieces p ON p.video_id = d.video_id
                 WHERE p.text LIKE ? ESCAPE '\\' LIMIT ?",
            )
            .bind(&among)
            .bind(like)
            .bind(MAX_LIKE)
            .fetch_all(&self.pool)
            .await?;
            for row in rows {
                let place = whole(&row, Why::Words)?;
                scored.entry(row.try_get("document")?).or_default().push((place.kind.weight(), place));
            }
        }
        let best = |places| best(places).map(|(_, place)| place).collect();
        Ok(scored.into_iter().map(|(document, places)| (document, best(places))).collect())
    }
}

/// Returns the place of a row of `pieces`, with the beginning of its text.
pub(super) fn whole(row: &SqliteRow, why: Why) -> Result<Hit, LibraryError> {
    let text: &str = row.try_get("text")?;
    let kind = PieceKind::parse(row.try_get("kind")?);
    let source: Option<String> = row.try_get("source")?;
    Ok(Hit {
        kind,
        start: row.try_get("start_s")?,
        end: row.try_get("end_s")?,
        // Other kinds may have other sources.
        answer_id: source.filter(|_| kind == PieceKind::Answer),
        snippet: parts(&snippet(text)),
        why: kind.reasons(why),
    })
}

/// Returns the best of the scored matches; among equals the earliest in the video.
fn best<T>(mut scored: Vec<(f64, T)>) -> impl Iterator<Item = (f64, T)> {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(PLACES)
}

/// Returns the number of query words in a marked text, and the weight of its kind.
fn worth(kind: PieceKind, marked: &str) -> f64 {
    let same =
        |a: &str, b: &str| a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase));
    let mut words: Vec<&str> = Vec::new();
    for (word, _) in marked.split(OPEN).skip(1).filter_map(|piece| piece.split_once(CLOSE)) {
        if !words.iter().any(|known| same(known, word)) {
            words.push(word);
        }
    }
    kind.weight() * words.len().max(1) as f64
}

/// Parses the best of the marked columns of a document.
fn marked(row: &SqliteRow) -> Result<Vec<(f64, Hit)>, LibraryError> {
    let pieces: &str = row.try_get(COLUMNS.len() + 1)?;
    let pieces: Vec<DocumentPiece<'_>> =
        serde_json::from_str(pieces).map_err(|source| LibraryError::Damaged { column: "pieces", source })?;
    let mut scored = Vec::new();
    for (column, kind) in COLUMNS.into_iter().enumerate() {
        let text: &str = row.try_get(column + 1)?;
        if !text.contains(OPEN) {
            continue;
        }
        let of_kind: Vec<&DocumentPiece<'_>> =
            pieces.iter().filter(|piece| PieceKind::parse(piece.0) == kind).collect();
        scored.extend(
            cut(text, &of_kind).into_iter().map(|(text, piece)| (worth(kind, text), (kind, text, piece))),
        );
    }
    let shown = best(scored).map(|(worth, (kind, text, piece))| {
        let place = Hit {
            kind,
            start: piece.and_then(|piece| piece.2),
            end: piece.and_then(|piece| piece.3),
            answer_id: piece
                .and_then(|piece| piece.4.map(str::to_owned))
                .filter(|_| kind == PieceKind::Answer),
            snippet: parts(&snippet(text)),
            why: kind.reasons(Why::Words),
        };
        (worth, place)
    });
    Ok(shown.collect())
}

/// Splits a marked column into the pieces with a match. Where it cannot be split (its own text contains marks, or it changed
/// between two statements), it is one piece without a time.
fn cut<'a>(text: &'a str, pieces: &[&'a DocumentPiece<'a>]) -> Vec<(&'a str, Option<&'a DocumentPiece<'a>>)> {
    let mut found = Vec::new();
    let mut rest = text;
    for (number, piece) in pieces.iter().enumerate() {
        let Some((own, after)) = split_marked(rest, piece.1) else { return vec![(text, None)] };
        if own.contains(OPEN) {
            found.push((own, Some(*piece)));
        }
        rest = match after.strip_prefix('\n') {
            Some(next) => next,
            None if number + 1 == pieces.len() && after.is_empty() => after,
            None => return vec![(text, None)],
        };
    }
    // The text exceeds the pieces.
    if rest.is_empty() { found } else { vec![(text, None)] }
}

/// Splits after `bytes` bytes that are not marks, including a mark that ends a match there.
fn split_marked(text: &str, bytes: usize) -> Option<(&str, &str)> {
    let mut end = bytes;
    let mut seen = 0;
    // Each mark before the end is one byte and moves the end by one.
    while let Some(at) = text.get(seen..)?.find([OPEN, CLOSE]).map(|at| seen + at) {
        if at > end || (at == end && !text[at..].starts_with(CLOSE)) {
            break;
        }
        (seen, end) = (at + 1, end + 1);
    }
    text.split_at_checked(end)
}

/// Returns the words around the first match of a long text.
fn snippet(text: &str) -> String {
    if text.chars().count() <= SNIPPET {
        return text.to_owned();
    }
    let hit = text.find(OPEN).unwrap_or_default();
    // Starts at a word boundary, if there is one.
    let begin = text[..hit]
        .char_indices()
        .rev()
        .nth(BEFORE)
        .map_or(0, |(at, _)| text[at..hit].find(char::is_whitespace).map_or(at, |space| at + space));
    let end = text[begin..].char_indices().nth(SNIPPET).map_or(text.len(), |(at, _)| {
        let end = begin + at;
        text[hit..end].rfind(char::is_whitespace).map_or(end, |space| hit + space)
    });
    let dots = |cut: bool| if cut { "…" } else { "" };
    format!("{}{}{}", dots(begin > 0), text[begin..end].trim(), dots(end < text.len()))
}

/// Splits a snippet at the marks around matches.
fn parts(marked: &str) -> Vec<SnippetPart> {
    let mut parts: Vec<SnippetPart> = Vec::new();
    let mut push = |text: &str, matched: bool| {
        if !text.is_empty() {
            parts.push(SnippetPart { text: text.replace(char::is_control, " "), matched });
        }
    };
    for (index, piece) in marked.split(OPEN).enumerate() {
        match piece.split_once(CLOSE) {
            Some((hit, after)) if index > 0 => {
                push(hit, true);
                push(after, false);
            }
            _ => push(piece, false),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: usize, start: f64) -> DocumentPiece<'static> {
        ("moment", bytes, Some(start), None, None)
    }

    #[test]
    fn a_column_is_cut_into_the_pieces_that_it_was_joined_from() {
        // The second piece has a line break of its own; the third ends with a match.
        let pieces = [piece(5, 1.0), piece(7, 2.0), piece(8, 3.0)];
        let pieces: Vec<&DocumentPiece<'_>> = pieces.iter().collect();
        let column = "a dog\n\u{2}é\u{3}\nball\na \u{2}ball\u{3}é";
        let last = ("a \u{2}ball\u{3}é", Some(pieces[2]));
        assert_eq!(cut(column, &pieces), [("\u{2}é\u{3}\nball", Some(pieces[1])), last]);
        assert_eq!(cut(column, &pieces[..2]), [(column, None)], "more text than pieces");
        let at_the_end = "a \u{2}dog\u{3}\nb";
        let pieces = [piece(5, 1.0), piece(1, 2.0)];
        let pieces: Vec<&DocumentPiece<'_>> = pieces.iter().collect();
        assert_eq!(cut(at_the_end, &pieces), [("a \u{2}dog\u{3}", Some(pieces[0]))]);
        assert_eq!(cut("a \u{2}dog\u{3} x\nb", &pieces)[0].1, None, "not what it was joined from");
    }

    #[test]
    fn a_snippet_is_short_and_holds_the_first_match() {
        let long = format!("{} \u{2}dog\u{3} {}", "before ".repeat(60), "after ".repeat(60));
        let short = snippet(&long);
        assert!(short.starts_with("…before") && short.ends_with("after…"), "{short}");
        assert!(short.contains("\u{2}dog\u{3}") && short.chars().count() <= SNIPPET + 2, "{short}");
        let no_spaces = format!("{}\u{2}犬\u{3}{}", "海".repeat(900), "辺".repeat(900));
        let short = snippet(&no_spaces);
        assert!(short.contains("\u{2}犬\u{3}") && short.chars().count() <= SNIPPET + 2, "{short}");
        assert_eq!(snippet("a \u{2}dog\u{3}"), "a \u{2}dog\u{3}");
    }
}
