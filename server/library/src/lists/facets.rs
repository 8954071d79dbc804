//! Numbers of videos by year, month, place, camera and so on, which triggers keep in the table `facets`.

use jiff::civil::{Date, Time};
use sqlx::QueryBuilder;

use super::filter::{ListFilter, Order, Period};
use crate::{error::LibraryError, library::Library, taken::local_ms, values::from_json};

/// Videos that are counted one by one; beyond, a count is only a bound.
const MAX_COUNTED: u64 = 1000;

/// Videos that are looked at to count those of several filters; beyond, a count is only a bound.
const MAX_SCANNED: u64 = 4000;

/// What videos are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FacetKind {
    /// Month in which they were taken, else added: `2019-07`.
    Month,
    /// Camera.
    Camera,
    /// Place.
    Place,
}

impl FacetKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Camera => "camera",
            Self::Place => "place",
        }
    }
}

/// A value and how many videos outside the trash have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FacetValue {
    /// The value.
    pub value: String,
    /// Number of videos.
    pub videos: u64,
}

/// A number of videos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The number.
    pub videos: u64,
    /// Whether there are more; they were not all counted.
    pub or_more: bool,
}

impl Library {
    /// Returns the values of a kind in their order, at most `limit`: months the latest first, others the most frequent.
    ///
    /// # Errors
    /// `Database`.
    pub async fn facets(&self, kind: FacetKind, limit: u32) -> Result<Vec<FacetValue>, LibraryError> {
        let order = match kind {
            FacetKind::Month => "value DESC",
            FacetKind::Camera | FacetKind::Place => "videos DESC, value",
        };
        // As one row: the driver takes longer for a row than SQLite does.
        let sql = format!(
            "SELECT json_group_array(json_array(value, videos))
             FROM (SELECT value, videos FROM facets WHERE kind = ? ORDER BY {order} LIMIT ?)"
        );
        let rows: String =
            sqlx::query_scalar(&sql).bind(kind.as_str()).bind(limit).fetch_one(&self.pool).await?;
        let rows: Vec<(String, i64)> = from_json("facets", &rows)?;
        let value = |(value, videos)| FacetValue { value, videos: unsigned(videos) };
        Ok(rows.into_iter().map(value).collect())
    }

    /// Counts the videos that a filter allows.
    ///
    /// # Errors
    /// `Database`.
    pub async fn list_count(&self, filter: &ListFilter) -> Result<Counted, LibraryError> {
        let exact = |videos| Counted { videos, or_more: false };
        if filter.conditions() == 0 {
            return Ok(exact(self.video_count().await?));
        }
        if filter.conditions() == 1
            && let Some(videos) = self.counted_before(filter).await?
        {
            return Ok(exact(videos));
        }
        if filter.day.is_some() {
            return self.counted_one_by_one(filter).await;
        }
        self.counted_among_latest(filter).await
    }

    /// Counts the videos of a filter with a day, of which there are few.
    async fn counted_one_by_one(&self, filter: &ListFilter) -> Result<Counted, LibraryError> {
        let mut sql = QueryBuilder::new("SELECT count(*) FROM (SELECT 1 FROM facts WHERE ");
        // In no order, so that the period is a condition.
        filter.push(&mut sql, Order::Added);
        sql.push(" LIMIT ").push_bind(MAX_COUNTED as i64 + 1).push(")");
        let counted = unsigned(sql.build_query_scalar().fetch_one(&self.pool).await?);
        Ok(Counted { videos: counted.min(MAX_COUNTED), or_more: counted > MAX_COUNTED })
    }

    /// Counts the videos of several filters, which no index has together, among the latest ones of the timeline.
    async fn counted_among_latest(&self, filter: &ListFilter) -> Result<Counted, LibraryError> {
        let mut sql = QueryBuilder::new("SELECT count(*) FILTER (WHERE ");
        filter.push(&mut sql, Order::Taken);
        sql.push(
            "), count(*) FROM (SELECT deleted, favourite, undated, place, camera, length
                 FROM facts INDEXED BY facts_timeline WHERE deleted = 0",
        );
        let (from, before) = filter.period.map(Period::range_ms).unzip();
        if let Some(from) = from {
            sql.push(" AND taken_ms >= ").push_bind(from);
        }
        if let Some(before) = before.flatten() {
            sql.push(" AND taken_ms < ").push_bind(before);
        }
        sql.push(" ORDER BY taken_ms DESC, video_id DESC LIMIT ").push_bind(MAX_SCANNED as i64).push(")");
        let (counted, scanned): (i64, i64) = sql.build_query_as().fetch_one(&self.pool).await?;
        Ok(Counted { videos: unsigned(counted), or_more: unsigned(scanned) == MAX_SCANNED })
    }

    /// Counts the videos that were taken on the same day of earlier years, up to a thousand.
    ///
    /// # Errors
    /// `Database`.
    pub async fn count_on_day_before(&self, day: Date) -> Result<u64, LibraryError> {
        let start = local_ms(day.first_of_year().to_datetime(Time::midnight()));
        let sql = "SELECT count(*) FROM (SELECT 1 FROM facts WHERE deleted = 0 AND undated = 0 AND day = ? AND taken_ms < ? LIMIT ?)";
        let count = sqlx::query_scalar(sql)
            .bind(day.strftime("%m-%d").to_string())
            .bind(start)
            .bind(MAX_COUNTED as i64)
            .fetch_one(&self.pool)
            .await?;
        Ok(unsigned(count))
    }

    /// Returns the count of a filter of one condition, if triggers keep it.
    async fn counted_before(&self, filter: &ListFilter) -> Result<Option<u64>, LibraryError> {
        let (kind, value) = match filter {
            ListFilter { favourite: true, .. } => ("favourite", "1".to_owned()),
            ListFilter { undated: true, .. } => ("undated", "1".to_owned()),
            ListFilter { place: Some(place), .. } => ("place", place.clone()),
            ListFilter { camera: Some(camera), .. } => ("camera", camera.clone()),
            ListFilter { length: Some(length), .. } => ("length", length.number().to_string()),
            ListFilter { period: Some(period), .. } => return Ok(Some(self.count_in(*period).await?)),
            _ => return Ok(None),
        };
        let sql = "SELECT videos FROM facets WHERE kind = ? AND value = ?";
        let videos: Option<i64> =
            sqlx::query_scalar(sql).bind(kind).bind(value).fetch_optional(&self.pool).await?;
        Ok(Some(unsigned(videos.unwrap_or_default())))
    }

    async fn count_in(&self, period: Period) -> Result<u64, LibraryError> {
        // ':' comes after the digits and '-'.
        let sql = "SELECT coalesce(sum(videos), 0) FROM facets WHERE kind = 'month' AND value >= ?1 AND value < ?1 || ':'";
        Ok(unsigned(sqlx::query_scalar(sql).bind(period.to_string()).fetch_one(&self.pool).await?))
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
