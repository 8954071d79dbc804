//! What a search by meaning looks for, and in which videos: filters, quotations, words with a star and excluded words hold for
//! what it finds as well.

use sqlx::{QueryBuilder, Sqlite};

use super::{
    find::{push_filter, push_likes},
    query::{Query, split},
    results::Filter,
};
use crate::{error::LibraryError, library::Library};

/// A search as the index of vectors needs it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MeaningQuery {
    /// The words, without signs of the query language.
    pub text: String,
    /// Where to look.
    pub documents: Documents,
}

/// The documents, each of one video, that may be found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Documents {
    /// All but these, which are in the trash.
    AllBut(Vec<i64>),
    /// Only these.
    Only(Vec<i64>),
}

impl Library {
    /// Returns what a search by meaning has to look for; `None` means that the query has no words.
    ///
    /// # Errors
    /// `Invalid` for a malformed query; `Database`.
    pub async fn meaning_query(
        &self,
        text: &str,
        filter: &Filter,
    ) -> Result<Option<MeaningQuery>, LibraryError> {
        let query = Query::parse(text)?;
        if query.wanted.is_empty() {
            return Ok(None);
        }
        let exact = query.exact();
        let documents = if exact == Query::default() && *filter == Filter::default() {
            self.untrashed_documents().await?
        } else {
            Documents::Only(self.documents_with(&exact, filter).await?)
        };
        Ok(Some(MeaningQuery { text: query.words(), documents }))
    }

    /// Returns the documents of all videos that are not in the trash.
    ///
    /// # Errors
    /// `Database`.
    pub async fn untrashed_documents(&self) -> Result<Documents, LibraryError> {
        let trashed = sqlx::query_scalar("SELECT id FROM facts WHERE deleted = 1");
        Ok(Documents::AllBut(trashed.fetch_all(&self.pool).await?))
    }

    /// Returns the documents that match a query and a filter, unranked and without a limit.
    async fn documents_with(&self, query: &Query, filter: &Filter) -> Result<Vec<i64>, LibraryError> {
        let (matches, likes) = split(&query.wanted);
        let (unwanted, unlike) = split(&query.unwanted);
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT f.id FROM facts f WHERE f.deleted = 0");
        push_filter(&mut sql, filter);
        for (condition, expressions) in [("IN", matches.join(" AND ")), ("NOT IN", unwanted.join(" OR "))] {
            if !expressions.is_empty() {
                sql.push(format!(
                    " AND f.id {condition} (SELECT rowid FROM documents_fts WHERE documents_fts MATCH "
                ));
                sql.push_bind(expressions).push(")");
            }
        }
        push_likes(&mut sql, likes, unlike);
        Ok(sql.build_query_scalar().fetch_all(&self.pool).await?)
    }
}
