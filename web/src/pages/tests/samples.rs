//! Each page, filled with untrusted text.

use super::HOSTILE;
use crate::{
    Words,
    chart::{Chart, ChartLine, ChartRow},
    pages::{
        AlbumPage, AlbumsPage, ArrangePage, AskPage, BenchPage, EditPage, ErrorPage, HouseholdPage, JobsPage,
        LibraryPage, SearchPage, SystemPage, TrashPage, VideoPage,
    },
    times::Span,
    views::{
        AlbumCard, AlbumChoice, AlbumHead, AnswerView, ApiKeyView, ArrangedVideo, BatchBar, BenchChange,
        BenchRow, Card, CardGroup, DoneMessage, EditedMoment, Fact, FactList, FoundView, HitView,
        JobProgress, JobView, LineView, Link, ListForm, Made, ModelStatus, MomentView, Note, PageLinks,
        Person, RailEntry, SelectOption, Shell, StageShare, StateKind, StateLabel, Time, TimeSpent, Trail,
        TranscriptView, Trashed,
    },
};

pub(super) fn time() -> Time {
    Time { iso: "2026-11-22T22:00:00Z".into(), text: "22 Nov 2026, 22:00 UTC".into() }
}

pub(super) fn shell(model: ModelStatus) -> Shell {
    Shell {
        words: Words::english(),
        title: HOSTILE.into(),
        here: "videos",
        model,
        can_log_out: true,
        may_change: true,
        may_delete: true,
        unfinished: true,
        changes: 7,
    }
}

pub(super) fn state(kind: StateKind) -> StateLabel {
    StateLabel { kind, word: HOSTILE.into(), detail: HOSTILE.into() }
}

pub(super) fn card() -> Card {
    Card {
        id: "1".into(),
        name: HOSTILE.into(),
        title: HOSTILE.into(),
        poster: Some("/api/videos/1/card.jpg".into()),
        posters: "/api/videos/1/card.jpg 320w, /api/videos/1/poster.jpg 640w".into(),
        length: HOSTILE.into(),
        size: HOSTILE.into(),
        date: time(),
        date_note: HOSTILE.into(),
        favourite: true,
        state: state(StateKind::Working),
        later: true,
    }
}

fn batch() -> BatchBar {
    let album = SelectOption { value: HOSTILE.into(), label: HOSTILE.into(), chosen: false };
    BatchBar { back: "/".into(), albums: vec![album], album: HOSTILE.into(), from: "?in=album%3A1".into() }
}

fn groups() -> Vec<CardGroup> {
    vec![CardGroup { heading: time(), place: HOSTILE.into(), cards: vec![card()] }]
}

fn links() -> PageLinks {
    PageLinks { back: Some("/?after=1_".into()), on: Some("/?before=1_".into()) }
}

pub(super) fn library() -> LibraryPage {
    let option = |chosen| SelectOption { value: HOSTILE.into(), label: HOSTILE.into(), chosen };
    LibraryPage {
        shell: shell(ModelStatus::Demo { id: HOSTILE.into() }),
        upload_limit: "8 GB".into(),
        base_url: HOSTILE.into(),
        is_empty: false,
        count: "1 video".into(),
        groups: groups(),
        links: links(),
        years: vec![RailEntry {
            time: time(),
            url: "/?when=2019".into(),
            count: "1".into(),
            chosen: true,
            is_month: false,
        }],
        undated: Some("/?undated=1".into()),
        on_this_day: Some(Link { text: HOSTILE.into(), url: "/?on=07-14".into() }),
        form: ListForm {
            chosen: vec![Link { text: HOSTILE.into(), url: HOSTILE.into() }],
            clear: "/".into(),
            when: "2019".into(),
            on: "07-14".into(),
            favourite: true,
            undated: true,
            orders: vec![option(true)],
            places: vec![option(true)],
            cameras: vec![option(false)],
            lengths: vec![option(false)],
        },
        batch: batch(),
        trashed: Some(Link { text: HOSTILE.into(), url: "/videos/1/restore".into() }),
        done: Some(DoneMessage {
            text: HOSTILE.into(),
            link: Some(Link { text: HOSTILE.into(), url: "/trash".into() }),
        }),
    }
}

pub(super) fn video() -> VideoPage {
    let fact = Fact { name: "fact-length", value: HOSTILE.into() };
    let answer = AnswerView {
        id: "2".into(),
        question: HOSTILE.into(),
        text: vec![
            Span { text: HOSTILE.into(), second: None },
            Span { text: HOSTILE.into(), second: Some("3.5".into()) },
        ],
        state: state(StateKind::Failed),
        model: HOSTILE.into(),
        asked: time(),
        facts: vec![fact.clone()],
    };
    VideoPage {
        shell: shell(ModelStatus::Failed { reason: HOSTILE.into() }),
        id: "1".into(),
        name: HOSTILE.into(),
        state: state(StateKind::Failed),
        step: Some(JobProgress { name: HOSTILE.into(), done: 1, total: 2, has_events: true }),
        retry: Some("/api/jobs/1/retry".into()),
        restore: Some("/videos/1/restore".into()),
        play_file: Some("file"),
        why_not_played: String::new(),
        offers_original: false,
        width: 640,
        height: 360,
        has_poster: true,
        has_sprites: true,
        start_fragment: "#t=3.5".into(),
        second: "3.5".into(),
        codec: HOSTILE.into(),
        askable: false,
        why_not_askable: HOSTILE.into(),
        suggestions: vec![HOSTILE.into()],
        look_closer: true,
        answer_begins: "An answer begins after about 12 s, with a closer look after about 2 min.".into(),
        answers: vec![answer],
        older_answers: Some("/videos/1?answers=9".into()),
        description: Some(Made { text: HOSTILE.into(), model: HOSTILE.into(), edited: false }),
        no_description: HOSTILE.into(),
        tags: vec![Link { text: HOSTILE.into(), url: "/search?tag=x".into() }],
        albums: vec![AlbumChoice { id: "3".into(), name: HOSTILE.into(), chosen: true }],
        moments: vec![MomentView {
            start: "3.5".into(),
            end: "5.0".into(),
            at: "0:03.5–0:05.0".into(),
            text: HOSTILE.into(),
            clip: "clip.mp4?start=3.500&end=5.000&download=1".into(),
        }],
        more_moments: Some("/videos/1?moments=150".into()),
        no_moments: HOSTILE.into(),
        similar: vec![card()],
        transcript: Some(transcript()),
        captions: Some(("/api/videos/1/transcript.vtt?v=2".into(), "en".into())),
        favourite: true,
        taken: Some(time()),
        guessed: true,
        place: HOSTILE.into(),
        trail: Trail {
            back: Link { text: HOSTILE.into(), url: "/tags/x".into() },
            previous: Some("/videos/2".into()),
            next: Some("/videos/0".into()),
            plays_all: true,
        },
        facts: vec![fact],
        added: time(),
        warnings: vec![HOSTILE.into()],
    }
}

pub(super) fn edit() -> EditPage {
    EditPage {
        shell: shell(ModelStatus::Loading),
        action: HOSTILE.into(),
        back: HOSTILE.into(),
        video: HOSTILE.into(),
        problem: HOSTILE.into(),
        name: HOSTILE.into(),
        taken: [HOSTILE.into(), HOSTILE.into(), HOSTILE.into()],
        place: HOSTILE.into(),
        description: Some(HOSTILE.into()),
        tags: HOSTILE.into(),
        moments: Some(vec![EditedMoment {
            start: HOSTILE.into(),
            end: HOSTILE.into(),
            text: HOSTILE.into(),
        }]),
        length: HOSTILE.into(),
    }
}

fn transcript() -> TranscriptView {
    let line = LineView {
        index: 61,
        start: "83.0".into(),
        at: "1:23.0".into(),
        text: HOSTILE.into(),
        by_hand: true,
    };
    TranscriptView {
        note: HOSTILE.into(),
        has_lines: true,
        lines: vec![line.clone()],
        wanted: HOSTILE.into(),
        span: Some(("83.0".into(), "99.5".into())),
        earlier: Some("/videos/1?lines=0#transcript".into()),
        later: Some("/videos/1?lines=120#transcript".into()),
        here: "lines=60".into(),
        edited: Some(line),
        model: HOSTILE.into(),
        can_repeat: true,
    }
}

pub(super) fn jobs() -> JobsPage {
    let job = JobView {
        id: "3".into(),
        video_id: "1".into(),
        video: HOSTILE.into(),
        what: HOSTILE.into(),
        state: state(StateKind::Waiting),
        step: Some(JobProgress { name: HOSTILE.into(), done: 1, total: 2, has_events: true }),
        elapsed: HOSTILE.into(),
        since: time(),
        reason: HOSTILE.into(),
        can_retry: true,
        can_cancel: true,
        can_go_first: true,
    };
    JobsPage {
        shell: shell(ModelStatus::Loading),
        counts: HOSTILE.into(),
        paused: true,
        left: Some(HOSTILE.into()),
        of_other_models: Some(2),
        any_failed: true,
        jobs: vec![job],
        more: Some("/jobs?offset=40".into()),
    }
}

pub(super) fn search() -> SearchPage {
    let place = HitView {
        url: "/videos/1?t=83.0".into(),
        at: "1:23.0".into(),
        parts: vec![(HOSTILE.into(), true), (HOSTILE.into(), false)],
        why: vec!["words".into(), "meaning".into()],
    };
    let card = card();
    let choice = SelectOption { value: HOSTILE.into(), label: HOSTILE.into(), chosen: true };
    SearchPage {
        shell: Shell { here: "search", ..shell(ModelStatus::Loading) },
        q: HOSTILE.into(),
        from: HOSTILE.into(),
        to: HOSTILE.into(),
        tag: HOSTILE.into(),
        favourite: true,
        cameras: vec![choice.clone()],
        lengths: vec![choice],
        filtered: true,
        dated: HOSTILE.into(),
        is_question: true,
        searched: true,
        by_meaning: true,
        meaning_failed: true,
        problem: HOSTILE.into(),
        counts: HOSTILE.into(),
        found: vec![FoundView {
            card,
            url: "/videos/1?in=search%3Aq%3Dx".into(),
            picture: Some("/api/videos/1/thumbnail.jpg?t=83.0".into()),
            places: vec![place],
        }],
        more: Some("/search?q=a&offset=20".into()),
    }
}

fn chart() -> Chart {
    let line = ChartLine { series: "tokens_per_s", name: HOSTILE.into(), parts: vec!["0,0 1,1".into()] };
    let rows = vec![ChartRow { ago: "now".into(), values: vec!["1".into()] }];
    Chart {
        id: "chart-tokens",
        title: HOSTILE.into(),
        value: "1".into(),
        top: "2".into(),
        lines: vec![line],
        rows,
    }
}

fn share() -> StageShare {
    StageShare { key: "queue", name: HOSTILE.into(), time: "1 s".into(), x: "0".into(), width: "100".into() }
}

pub(super) fn system() -> SystemPage {
    let facts = vec![Fact { name: "system-gpu", value: HOSTILE.into() }];
    SystemPage {
        shell: shell(ModelStatus::Loading),
        spans: vec![("15 min".into(), "/system".into(), true)],
        live: true,
        charts: vec![chart()],
        spent: Some(TimeSpent { title: "Time".into(), shares: vec![share()] }),
        now_running: Vec::new(),
        jobs: HOSTILE.into(),
        advice: vec![HOSTILE.into()],
        lists: vec![FactList { title: "system-machine", facts }],
        now: time(),
    }
}

pub(super) fn bench() -> BenchPage {
    let word = || HOSTILE.to_owned();
    let run = BenchRow {
        name: word(),
        model: word(),
        content: word(),
        load: word(),
        answered: word(),
        requests: word(),
        tokens: word(),
        ttft: word(),
        tpot: word(),
        e2el: word(),
    };
    BenchPage {
        shell: shell(ModelStatus::Loading),
        directory: word(),
        runs: vec![run],
        plots: vec![("latency".into(), word())],
        change: Some(BenchChange {
            before: word(),
            after: word(),
            rows: vec![[word(), word(), word(), word()]],
        }),
        unread: vec![word()],
    }
}

pub(super) fn ask() -> AskPage {
    let note = Note {
        number: 1,
        url: "/videos/1?t=3.5".into(),
        video: HOSTILE.into(),
        at: "0:03.5".into(),
        text: HOSTILE.into(),
        picture: None,
    };
    AskPage {
        shell: shell(ModelStatus::Loading),
        id: "1".into(),
        state: Some(StateLabel { kind: StateKind::Failed, word: "failed".into(), detail: HOSTILE.into() }),
        asked: Some(time()),
        earlier: vec![(Link { text: HOSTILE.into(), url: "/ask/1".into() }, time())],
        more: None,
        question: HOSTILE.into(),
        parts: vec![(HOSTILE.into(), None), ("[1]".into(), Some(1))],
        model: HOSTILE.into(),
        notes: vec![note],
    }
}

pub(super) fn household() -> HouseholdPage {
    let choice = SelectOption { value: "member".into(), label: HOSTILE.into(), chosen: true };
    let person = Person {
        id: "1".into(),
        name: HOSTILE.into(),
        household: false,
        role: "member",
        roles: vec![choice.clone()],
        since: time(),
    };
    let key =
        ApiKeyView { id: "2".into(), name: HOSTILE.into(), role: "viewer", made: time(), used: Some(time()) };
    HouseholdPage {
        shell: shell(ModelStatus::Loading),
        problem: HOSTILE.into(),
        done: HOSTILE.into(),
        new_key: Some((HOSTILE.into(), HOSTILE.into())),
        open: false,
        me: HOSTILE.into(),
        has_password: true,
        admin: true,
        min_length: 8,
        roles: vec![choice],
        people: vec![person],
        keys: vec![key],
    }
}

pub(super) fn error() -> ErrorPage {
    ErrorPage {
        shell: shell(ModelStatus::Ready { id: HOSTILE.into() }),
        lines: vec![HOSTILE.into()],
        detail: HOSTILE.into(),
        back: "/".into(),
        back_label: "All videos".into(),
    }
}

pub(super) fn albums() -> AlbumsPage {
    let album = AlbumCard {
        name: HOSTILE.into(),
        url: "/albums/1".into(),
        cover: Some("/api/videos/1/card.jpg".into()),
        count: "1 video".into(),
    };
    AlbumsPage {
        shell: shell(ModelStatus::Loading),
        albums: vec![album.clone()],
        more_albums: Some("/albums?offset=48".into()),
        tags: vec![album],
        more_tags: Some("/albums?tags=48".into()),
        is_start: true,
    }
}

fn head() -> AlbumHead {
    AlbumHead {
        name: HOSTILE.into(),
        id: Some("1".into()),
        url: "/albums/1".into(),
        count: "1 video".into(),
        play: Some("/videos/1?in=album%3A1&play=all".into()),
        download: "/videos/download?album=1".into(),
        search: "/search?tag=a".into(),
        by_hand: true,
    }
}

pub(super) fn album() -> AlbumPage {
    AlbumPage {
        shell: shell(ModelStatus::Loading),
        head: head(),
        groups: groups(),
        links: links(),
        batch: batch(),
        done: None,
    }
}

pub(super) fn arrange() -> ArrangePage {
    ArrangePage {
        shell: shell(ModelStatus::Loading),
        head: head(),
        here: "/albums/1/arrange".into(),
        videos: vec![ArrangedVideo { card: card(), is_cover: false }],
        links: links(),
    }
}

pub(super) fn trash() -> TrashPage {
    TrashPage {
        shell: shell(ModelStatus::Loading),
        size: "1 MB".into(),
        count: "1 video".into(),
        videos: vec![Trashed { card: card(), gone: time() }],
        more: Some("/trash?offset=40".into()),
        done: Some(DoneMessage { text: HOSTILE.into(), link: None }),
        confirm: Some(Link { text: HOSTILE.into(), url: "/trash/1/delete".into() }),
    }
}
