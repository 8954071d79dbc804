//! Cards of videos in lists: what they show, and their headings.

use std::collections::HashMap;

use homereel_library::{Job, Order, Poster, Video, local_time};
use homereel_video::ProbeSummary;
use homereel_web::{
    Words, format,
    views::{Card, CardGroup, StateKind, StateLabel, Time},
};
use jiff::civil::Date;

use super::{
    error::Failure,
    titles::{Titles, titles},
    views,
};
use crate::state::AppState;

/// Maximum width of a poster in pixels.
const POSTER_WIDTH: u32 = 640;

/// Number of cards whose pictures are loaded with the page: those that most screens show before scrolling.
const AT_FIRST: usize = 15;

/// What a heading stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heading {
    Month,
    Day,
    None,
}

/// Returns the cards of videos, with their jobs and the beginnings of their descriptions.
pub(super) async fn cards(state: &AppState, words: &Words, videos: &[Video]) -> Result<Vec<Card>, Failure> {
    let ids: Vec<&str> = videos.iter().map(|video| video.id.as_str()).collect();
    let jobs = state.library.jobs_not_done(&ids).await?;
    let titles = titles(state, videos).await?;
    Ok(videos.iter().map(|video| card(words, video, &jobs, &titles)).collect())
}

fn card(words: &Words, video: &Video, jobs: &HashMap<String, Job>, titles: &Titles) -> Card {
    Card {
        title: titles.of(video).to_owned(),
        posters: posters(video),
        length: video
            .probe
            .as_ref()
            .map(|probe| format::clock(probe.duration_s.max(0.0).round() as u64))
            .unwrap_or_default(),
        state: state(words, video, jobs.get(&video.id)),
        ..views::card(words, video, None)
    }
}

/// Returns the sizes of a poster, if there are two.
fn posters(video: &Video) -> String {
    let width = video.probe.as_ref().map(poster_width).filter(|width| *width > 320);
    match width {
        Some(width) if video.poster == Poster::Ready => {
            format!("/api/videos/{0}/card.jpg 320w, /api/videos/{0}/poster.jpg {width}w", video.id)
        }
        _ => String::new(),
    }
}

fn poster_width(probe: &ProbeSummary) -> u32 {
    probe.video.width.min(POSTER_WIDTH)
}

/// Returns the state of a video; of one that is ready, nothing is said.
fn state(words: &Words, video: &Video, job: Option<&Job>) -> StateLabel {
    let state = views::video_state(words, video, job);
    match state.kind {
        StateKind::Done => StateLabel { word: String::new(), ..state },
        _ => state,
    }
}

/// Puts cards under headings. `cards` are those of `videos`, in the same order.
pub(super) fn groups(videos: &[Video], cards: Vec<Card>, order: Order, heading: Heading) -> Vec<CardGroup> {
    let mut groups: Vec<(Time, Vec<(&Video, Card)>)> = Vec::new();
    for (at, (video, mut card)) in videos.iter().zip(cards).enumerate() {
        card.later = at >= AT_FIRST;
        let date = match order {
            Order::Taken => video.local().date(),
            Order::Added => local_time(video.created_ms).date(),
        };
        let time = heading_of(date, heading);
        match groups.last_mut() {
            Some((last, cards)) if *last == time => cards.push((video, card)),
            _ => groups.push((time, vec![(video, card)])),
        }
    }
    let group = |(heading, cards): (Time, Vec<(&Video, Card)>)| CardGroup {
        heading,
        place: common_place(&cards),
        cards: cards.into_iter().map(|(_, card)| card).collect(),
    };
    groups.into_iter().map(group).collect()
}

fn heading_of(date: Date, heading: Heading) -> Time {
    let format = match heading {
        Heading::Month => ("%Y-%m", "%B %Y"),
        Heading::Day => ("%Y-%m-%d", "%-d %B %Y"),
        Heading::None => return Time { iso: String::new(), text: String::new() },
    };
    Time { iso: date.strftime(format.0).to_string(), text: date.strftime(format.1).to_string() }
}

/// Returns the place of most videos, if there is one.
fn common_place(videos: &[(&Video, Card)]) -> String {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (video, _) in videos {
        if let Some(place) = &video.place {
            *counts.entry(place).or_default() += 1;
        }
    }
    let most = counts.into_iter().find(|(_, count)| 2 * count > videos.len());
    most.map(|(place, _)| place.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_months_or_days_also_before_1970() {
        let date = jiff::civil::date(1963, 8, 5);
        assert_eq!(
            heading_of(date, Heading::Month),
            Time { iso: "1963-08".into(), text: "August 1963".into() }
        );
        assert_eq!(
            heading_of(date, Heading::Day),
            Time { iso: "1963-08-05".into(), text: "5 August 1963".into() }
        );
    }
}
