//! Tests of the timeline: its order, filters, pages by key, counts, and that every query is answered from an index.

use homereel_video::TakenTime;
use sqlx::Row as _;

use super::*;
use crate::{Library, Video, albums::Collection, lists::timeline::keyed, tests::add};

/// Adds a video that was taken at `time`; `None` means unknown.
async fn taken(library: &Library, time: Option<&str>) -> String {
    let bytes = crate::new_id();
    let video = add(library, bytes.as_bytes(), "clip.mp4").await.video;
    match time {
        Some(time) => {
            let time: TakenTime = time.parse().unwrap();
            library.set_taken(&video.id, Some(time)).await.unwrap();
        }
        None => undate(library, &video.id).await,
    }
    video.id
}

async fn undate(library: &Library, id: &str) {
    let sql = "UPDATE videos SET taken = NULL, taken_source = NULL, local_ms = created_ms WHERE id = ?";
    sqlx::query(sql).bind(id).execute(&library.pool).await.unwrap();
}

fn ids(videos: &[Video]) -> Vec<String> {
    videos.iter().map(|video| video.id.clone()).collect()
}

fn owned(ids: &[&String]) -> Vec<String> {
    ids.iter().map(|&id| id.clone()).collect()
}

async fn listed(library: &Library, filter: &ListFilter, order: Order) -> Vec<String> {
    let list = library.list(filter, order, &Cursor::Start, 100).await.unwrap();
    list.videos.into_iter().map(|video| video.id).collect()
}

#[tokio::test]
async fn the_timeline_is_by_date_taken_also_before_1970() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let film = taken(&library, Some("1963-08-28T12:00:00")).await;
    let cassette = taken(&library, Some("1987-06-14")).await;
    let undated = taken(&library, None).await;
    let phone = taken(&library, Some("2023-10-06T08:00:00+09:00")).await;
    let all = ListFilter::default();
    assert_eq!(listed(&library, &all, Order::Taken).await, owned(&[&undated, &phone, &cassette, &film]));
    assert_eq!(listed(&library, &all, Order::Added).await, owned(&[&phone, &undated, &cassette, &film]));
    let filtered = |text: &str| ListFilter { period: Some(text.parse().unwrap()), ..ListFilter::default() };
    for (period, found) in
        [("1963", vec![&film]), ("1963-08", vec![&film]), ("1963-09", vec![]), ("1987", vec![&cassette])]
    {
        assert_eq!(listed(&library, &filtered(period), Order::Taken).await, owned(&found), "{period}");
        assert_eq!(
            library.list_count(&filtered(period)).await.unwrap().videos,
            found.len() as u64,
            "{period}"
        );
    }
    let months = library.facets(FacetKind::Month, 10).await.unwrap();
    assert_eq!(
        months[1..].iter().map(|month| (month.value.as_str(), month.videos)).collect::<Vec<_>>(),
        [("2023-10", 1), ("1987-06", 1), ("1963-08", 1)]
    );
    let on = |month, day| ListFilter { day: Some((month, day)), ..ListFilter::default() };
    assert_eq!(listed(&library, &on(8, 28), Order::Taken).await, owned(&[&film]));
    let filter = ListFilter { undated: true, ..ListFilter::default() };
    assert_eq!(listed(&library, &filter, Order::Taken).await, owned(&[&undated]));
    assert_eq!(library.list_count(&filter).await.unwrap(), Counted { videos: 1, or_more: false });
}

#[tokio::test]
async fn filters_and_counts_follow_every_change() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let one = taken(&library, Some("2019-07-01")).await;
    let two = taken(&library, Some("2019-07-02")).await;
    library.set_place(&one, "Lake Garda").await.unwrap();
    library.set_favourite(&one, true).await.unwrap();
    let place = ListFilter { place: Some("Lake Garda".into()), ..ListFilter::default() };
    let favourite = ListFilter { favourite: true, ..ListFilter::default() };
    let both = ListFilter { favourite: true, length: Some(LengthClass::Minute), ..ListFilter::default() };
    let counts = async || {
        let mut counts = Vec::new();
        for filter in [&place, &favourite, &both] {
            let listed = listed(&library, filter, Order::Added).await.len() as u64;
            assert_eq!(library.list_count(filter).await.unwrap(), Counted { videos: listed, or_more: false });
            counts.push(listed);
        }
        counts
    };
    assert_eq!(counts().await, [1, 1, 1]);
    library.set_favourite(&two, true).await.unwrap();
    assert_eq!(counts().await, [1, 2, 2]);
    library.trash_video(&one).await.unwrap();
    assert_eq!(counts().await, [0, 1, 1]);
    assert!(library.facets(FacetKind::Place, 10).await.unwrap().is_empty());
    library.restore_video(&one).await.unwrap();
    library.set_place(&one, "").await.unwrap();
    assert_eq!(counts().await, [0, 2, 2]);
    library.trash_videos(&[&one, &two]).await.unwrap();
    library.empty_trash().await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM facets").fetch_one(&library.pool).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_video_that_is_added_between_two_pages_is_neither_doubled_nor_lost() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let mut days = Vec::new();
    for day in 1..=5 {
        days.push(taken(&library, Some(&format!("2019-07-{day:02}"))).await);
    }
    let page =
        async |cursor: &Cursor| library.list(&ListFilter::default(), Order::Taken, cursor, 2).await.unwrap();
    let first = page(&Cursor::Start).await;
    assert_eq!((ids(&first.videos), &first.after), (owned(&[&days[4], &days[3]]), &None));
    let between = taken(&library, Some("2019-07-04T12:00:00")).await;
    taken(&library, Some("2019-07-09")).await;
    let second = page(&Cursor::Before(first.before.unwrap())).await;
    assert_eq!(ids(&second.videos), owned(&[&days[2], &days[1]]));
    let third = page(&Cursor::Before(second.before.clone().unwrap())).await;
    assert_eq!((ids(&third.videos), third.before), (owned(&[&days[0]]), None));
    let back = page(&Cursor::After(third.after.unwrap())).await;
    assert_eq!(ids(&back.videos), ids(&second.videos));
    let newer = page(&Cursor::After(back.after.unwrap())).await;
    assert_eq!(ids(&newer.videos), owned(&[&between, &days[3]]), "also what came between");
    assert!(newer.after.is_some() && newer.before.is_some());
    for bad in ["", "x", "1_zz", "1_\n", "99999999999999999999_"] {
        assert!(bad.parse::<ListKey>().is_err(), "{bad:?}");
    }
    let key = second.before.unwrap();
    assert_eq!(key.to_string().parse::<ListKey>().unwrap(), key);
}

#[test]
fn periods_are_years_and_months() {
    for good in ["2019", "2019-07", "1963-12", "9999-12"] {
        assert_eq!(good.parse::<Period>().unwrap().to_string(), good);
    }
    for bad in ["", "19", "2019-7", "2019-13", "2019-00", "-2019", "2019-07-01", "20x9"] {
        assert!(bad.parse::<Period>().is_err(), "{bad}");
    }
}

/// Returns how SQLite answers a query, step by step.
async fn plan(library: &Library, sql: &str) -> String {
    let sql = format!("EXPLAIN QUERY PLAN {sql}");
    let mut query = sqlx::query(&sql);
    for _ in 0..sql.matches('?').count() {
        query = query.bind(1);
    }
    let rows = query.fetch_all(&library.pool).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail") + "\n").collect()
}

#[tokio::test]
async fn every_list_is_read_from_an_index_in_its_order() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let filters = [
        ListFilter::default(),
        ListFilter { favourite: true, ..ListFilter::default() },
        ListFilter { undated: true, ..ListFilter::default() },
        ListFilter { place: Some("x".into()), ..ListFilter::default() },
        ListFilter { camera: Some("x".into()), ..ListFilter::default() },
        ListFilter { length: Some(LengthClass::Hour), ..ListFilter::default() },
        ListFilter { period: Some("2019".parse().unwrap()), ..ListFilter::default() },
        ListFilter { day: Some((7, 14)), ..ListFilter::default() },
    ];
    let key = ListKey { value: 1, id: "x".into() };
    let mut plans = Vec::new();
    for direction in [Direction::Ascending, Direction::Descending] {
        for filter in &filters {
            let conditions = |sql: &mut sqlx::QueryBuilder<'_, sqlx::Sqlite>| filter.push(sql, Order::Taken);
            let query = keyed(filter, Order::Taken, &conditions).query(direction, Some(&key), 2);
            plans.push(plan(&library, query.sql()).await);
        }
        let all = ListFilter::default();
        let conditions = |sql: &mut sqlx::QueryBuilder<'_, sqlx::Sqlite>| all.push(sql, Order::Added);
        let query = keyed(&all, Order::Added, &conditions).query(direction, Some(&key), 2);
        plans.push(plan(&library, query.sql()).await);
        for (collection, table, column) in [
            (Collection::Album("x".into()), "album_videos", "sort_key"),
            (Collection::Tag("x".into()), "tag_videos", "taken_ms"),
        ] {
            let conditions = |sql: &mut sqlx::QueryBuilder<'_, sqlx::Sqlite>| {
                crate::albums::push_members(sql, &collection)
            };
            let list =
                Keyed { table, key: column, shown: direction, range: (None, None), conditions: &conditions };
            plans.push(plan(&library, list.query(direction, Some(&key), 2).sql()).await);
        }
    }
    for plan in plans {
        assert!(plan.starts_with("SEARCH ") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}
