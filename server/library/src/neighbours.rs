//! The videos before and after one: on the whole timeline, of the same day, or in a list. Those in an album or with a tag are in
//! [`Library::neighbours_in`].

use jiff::civil::{Date, Time};
use sqlx::QueryBuilder;

use crate::{
    error::LibraryError,
    library::Library,
    lists::{Cursor, ListFilter, ListKey, Order},
    taken::local_ms,
    video::Video,
};

/// A video's place in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// Id of the video before it.
    pub previous: Option<String>,
    /// Id of the video after it.
    pub next: Option<String>,
    /// Its number in the list, from 1; 0 if it was not counted.
    pub number: u64,
    /// Number of videos in the list; 0 if they were not counted.
    pub count: u64,
}

impl Neighbours {
    /// Returns the place of a video in a list of ids; `None` means that it is not in the list.
    #[must_use]
    pub fn in_list(ids: &[&str], id: &str) -> Option<Self> {
        let at = ids.iter().position(|one| *one == id)?;
        let before = at.checked_sub(1).and_then(|before| ids.get(before));
        Some(Self {
            previous: before.map(|id| (*id).to_owned()),
            next: ids.get(at + 1).map(|id| (*id).to_owned()),
            number: at as u64 + 1,
            count: ids.len() as u64,
        })
    }
}

impl Library {
    /// Returns the newer and the older video of the whole timeline, which is not counted.
    ///
    /// # Errors
    /// `Database`.
    pub async fn neighbours(&self, video: &Video) -> Result<Neighbours, LibraryError> {
        let all = |sql: &mut QueryBuilder<'_, sqlx::Sqlite>| {
            sql.push("deleted = 0");
        };
        let (newer, older) = self.beside(video, all).await?;
        Ok(Neighbours { previous: newer, next: older, ..Neighbours::default() })
    }

    /// Returns the place of a video among those of a day of its local time, the last taken first; `None` means that it is of
    /// another day.
    ///
    /// # Errors
    /// `Database`.
    pub async fn neighbours_by_day(
        &self,
        video: &Video,
        day: Date,
    ) -> Result<Option<Neighbours>, LibraryError> {
        let start = local_ms(day.to_datetime(Time::midnight()));
        let of_day = move |sql: &mut QueryBuilder<'_, sqlx::Sqlite>| {
            sql.push("deleted = 0 AND taken_ms >= ").push_bind(start);
            sql.push(" AND taken_ms < ").push_bind(start + 86_400_000);
        };
        let (newer, older) = self.beside(video, &of_day).await?;
        let (number, count) = self.counted(video, &of_day, ">=").await?;
        Ok((number > 0).then_some(Neighbours { previous: newer, next: older, number, count }))
    }

    /// Returns the videos before and after one in a list of the library, which is not counted.
    ///
    /// # Errors
    /// `Database`.
    pub async fn neighbours_in_list(
        &self,
        video: &Video,
        filter: &ListFilter,
        order: Order,
    ) -> Result<Neighbours, LibraryError> {
        let value = match order {
            Order::Taken => local_ms(video.local()),
            Order::Added => video.created_ms,
        };
        let key = ListKey { value, id: video.id.clone() };
        let one = async |cursor| {
            let list = self.list(filter, order, &cursor, 1).await?;
            Ok::<_, LibraryError>(list.videos.into_iter().next().map(|video| video.id))
        };
        let previous = one(Cursor::After(key.clone())).await?;
        Ok(Neighbours { previous, next: one(Cursor::Before(key)).await?, ..Neighbours::default() })
    }

    /// Returns the next newer and the next older video among those that a condition allows.
    async fn beside(
        &self,
        video: &Video,
        condition: impl Fn(&mut QueryBuilder<'_, sqlx::Sqlite>),
    ) -> Result<(Option<String>, Option<String>), LibraryError> {
        let one = async |compared: &str, order: &str| {
            let mut sql = QueryBuilder::new("SELECT video_id FROM facts WHERE ");
            condition(&mut sql);
            sql.push(format!(" AND (taken_ms, video_id) {compared} ("));
            sql.push_bind(local_ms(video.local())).push(", ").push_bind(video.id.clone());
            sql.push(format!(") ORDER BY taken_ms {order}, video_id {order} LIMIT 1"));
            sql.build_query_scalar::<String>().fetch_optional(&self.pool).await
        };
        Ok((one(">", "").await?, one("<", "DESC").await?))
    }

    /// Returns the number of a video among those that a condition allows, 0 if it is not one of them, and their total number.
    async fn counted(
        &self,
        video: &Video,
        condition: impl Fn(&mut QueryBuilder<'_, sqlx::Sqlite>),
        compared: &str,
    ) -> Result<(u64, u64), LibraryError> {
        let mut sql = QueryBuilder::new(format!("SELECT coalesce(sum((taken_ms, video_id) {compared} ("));
        sql.push_bind(local_ms(video.local())).push(", ").push_bind(video.id.clone());
        sql.push(")), 0), count(*), coalesce(max(video_id = ").push_bind(video.id.clone());
        sql.push("), 0) FROM facts WHERE ");
        condition(&mut sql);
        let (number, count, present): (i64, i64, bool) = sql.build_query_as().fetch_one(&self.pool).await?;
        let number = u64::try_from(number).unwrap_or_default();
        Ok((if present { number } else { 0 }, u64::try_from(count).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::tests::add;

    #[test]
    fn a_place_in_a_list_has_a_number_and_neighbours() {
        let list = ["a", "b", "c"];
        let place = Neighbours::in_list(&list, "b").unwrap();
        assert_eq!((place.previous.as_deref(), place.next.as_deref()), (Some("a"), Some("c")));
        assert_eq!((place.number, place.count), (2, 3));
        assert_eq!(Neighbours::in_list(&list, "a").unwrap().previous, None);
        assert_eq!(Neighbours::in_list(&list, "d"), None);
    }

    #[tokio::test]
    async fn neighbours_are_those_of_the_timeline_or_the_day() {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).await.unwrap();
        let mut ids = Vec::new();
        for (at, day) in
            ["2019-06-01", "2019-06-02T09:00:00", "2019-06-02T10:00:00", "2019-06-03"].iter().enumerate()
        {
            let id = add(&library, &[at as u8; 9], "a.mp4").await.video.id;
            library.set_taken(&id, Some(day.parse().unwrap())).await.unwrap();
            ids.push(id);
        }
        let video = library.video(&ids[2]).await.unwrap();
        let place = library.neighbours(&video).await.unwrap();
        assert_eq!((place.previous.as_ref(), place.next.as_ref()), (Some(&ids[3]), Some(&ids[1])));
        let place = library.neighbours_by_day(&video, date(2019, 6, 2)).await.unwrap().unwrap();
        assert_eq!((place.previous.as_ref(), place.next.as_ref()), (None, Some(&ids[1])));
        assert_eq!((place.number, place.count), (1, 2));
        assert_eq!(library.neighbours_by_day(&video, date(2019, 6, 3)).await.unwrap(), None);
        library.set_favourite(&ids[0], true).await.unwrap();
        let favourites = ListFilter { favourite: true, ..ListFilter::default() };
        let place = library.neighbours_in_list(&video, &favourites, Order::Taken).await.unwrap();
        assert_eq!((place.previous, place.next.as_ref()), (None, Some(&ids[0])), "this one is no favourite");
        let all = ListFilter::default();
        let place = library.neighbours_in_list(&video, &all, Order::Added).await.unwrap();
        assert_eq!((place.previous.as_ref(), place.next.as_ref()), (Some(&ids[3]), Some(&ids[1])));
    }
}
