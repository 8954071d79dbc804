//! Pages filled with untrusted text, and the states of lists.

use super::*;
use crate::{times::Span, views::HitView};

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(2)>' & \u{202e}";

fn time() -> Time {
    Time { iso: "2026-11-22T22:00:00Z".into(), text: "22 Nov 2026, 22:00 UTC".into() }
}

fn shell(model: ModelStatus) -> Shell {
    Shell {
        title: HOSTILE.into(),
        here: "videos",
        model,
        can_log_out: true,
        may_change: true,
        may_delete: true,
        unfinished: true,
    }
}

fn state(kind: StateKind) -> StateLabel {
    StateLabel { kind, word: HOSTILE.into(), detail: HOSTILE.into() }
}

fn library() -> LibraryPage {
    let card = Card {
        id: "1".into(),
        name: HOSTILE.into(),
        poster: Some("/api/videos/1/poster.jpg".into()),
        length: HOSTILE.into(),
        size: HOSTILE.into(),
        date: time(),
        state: state(StateKind::Working),
    };
    LibraryPage {
        shell: shell(ModelStatus::Demo { id: HOSTILE.into() }),
        upload_limit: "8 GB".into(),
        base_url: HOSTILE.into(),
        count: "1 video".into(),
        videos: vec![card],
        more: Some("/?before=1".into()),
        trashed: Some(Link { text: HOSTILE.into(), url: "/videos/1/restore".into() }),
        storage: HOSTILE.into(),
        hasher: "/static/hash.js",
    }
}

fn video() -> VideoPage {
    let fact = Fact { name: "Length", value: HOSTILE.into() };
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
        step: Some(JobProgress { name: HOSTILE.into(), done: 1, total: 2 }),
        retry: Some("/api/jobs/1/retry".into()),
        restore: Some("/videos/1/restore".into()),
        playable: true,
        play_file: "file",
        width: 640,
        height: 360,
        has_poster: true,
        has_sprites: true,
        start_fragment: "#t=3.5".into(),
        codec: HOSTILE.into(),
        askable: false,
        why_not_askable: HOSTILE.into(),
        example: HOSTILE.into(),
        answers: vec![answer],
        older_answers: Some("/videos/1?answers=9".into()),
        description: Some(Made { text: HOSTILE.into(), model: HOSTILE.into(), edited: false }),
        no_description: HOSTILE.into(),
        tags: vec![Link { text: HOSTILE.into(), url: "/search?tag=x".into() }],
        moments: vec![MomentView { start: "3.5".into(), at: "0:03.5–0:05.0".into(), text: HOSTILE.into() }],
        more_moments: Some("/videos/1?moments=150".into()),
        no_moments: HOSTILE.into(),
        favourite: true,
        place: HOSTILE.into(),
        description_text: HOSTILE.into(),
        description_fits: true,
        tags_text: HOSTILE.into(),
        newer: Some("/videos/2".into()),
        older: Some("/videos/0".into()),
        facts: vec![fact],
        added: time(),
        warnings: vec![HOSTILE.into()],
    }
}

fn jobs() -> JobsPage {
    let job = JobView {
        id: "3".into(),
        video_id: "1".into(),
        video: HOSTILE.into(),
        what: HOSTILE.into(),
        state: state(StateKind::Waiting),
        step: Some(JobProgress { name: HOSTILE.into(), done: 1, total: 2 }),
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
        any_failed: true,
        jobs: vec![job],
        more: Some("/jobs?offset=40".into()),
    }
}

fn search() -> SearchPage {
    let place = HitView {
        url: "/videos/1?t=83.0".into(),
        at: "1:23.0".into(),
        parts: vec![(HOSTILE.into(), true), (HOSTILE.into(), false)],
    };
    let card = library().videos.remove(0);
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
        searched: true,
        problem: HOSTILE.into(),
        counts: HOSTILE.into(),
        found: vec![FoundView { card, places: vec![place] }],
        more: Some("/search?q=a&offset=20".into()),
    }
}

fn system() -> SystemPage {
    let facts = vec![Fact { name: "GPU", value: HOSTILE.into() }];
    SystemPage {
        shell: shell(ModelStatus::Loading),
        advice: vec![HOSTILE.into()],
        lists: vec![FactList { title: "Machine", facts }],
        now: time(),
        storage: HOSTILE.into(),
    }
}

fn bench() -> BenchPage {
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
        unread: vec![word()],
    }
}

fn ask() -> AskPage {
    let note = Note {
        number: 1,
        url: "/videos/1?t=3.5".into(),
        video: HOSTILE.into(),
        at: "0:03.5".into(),
        text: HOSTILE.into(),
    };
    AskPage {
        shell: shell(ModelStatus::Loading),
        question: HOSTILE.into(),
        parts: vec![(HOSTILE.into(), None), ("[1]".into(), Some(1))],
        model: HOSTILE.into(),
        notes: vec![note],
    }
}

fn albums() -> AlbumsPage {
    let album = AlbumCard {
        name: HOSTILE.into(),
        url: "/albums/x".into(),
        cover: Some("/api/videos/1/poster.jpg".into()),
        count: HOSTILE.into(),
    };
    AlbumsPage {
        shell: shell(ModelStatus::Loading),
        albums: vec![album],
        more: Some("/albums?offset=48".into()),
    }
}

fn album() -> AlbumPage {
    AlbumPage {
        shell: shell(ModelStatus::Loading),
        name: HOSTILE.into(),
        count: HOSTILE.into(),
        first: Some(time()),
        last: Some(time()),
        search: "/search?tag=x".into(),
        videos: library().videos,
        more: Some("/albums/x?offset=48".into()),
    }
}

fn household() -> HouseholdPage {
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
        done: "The role is changed.",
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

fn trash() -> TrashPage {
    let card = library().videos.remove(0);
    TrashPage {
        shell: shell(ModelStatus::Loading),
        size: HOSTILE.into(),
        videos: vec![Trashed { card, gone: time() }],
        more: Some("/trash?offset=40".into()),
    }
}

fn error() -> ErrorPage {
    ErrorPage {
        shell: shell(ModelStatus::Ready { id: HOSTILE.into() }),
        lines: vec![HOSTILE.into()],
        status: 404,
        back: "/".into(),
        back_label: "All videos".into(),
    }
}

fn every_page() -> [Result<String, askama::Error>; 12] {
    [
        library().render(),
        video().render(),
        search().render(),
        ask().render(),
        albums().render(),
        album().render(),
        household().render(),
        trash().render(),
        system().render(),
        bench().render(),
        jobs().render(),
        error().render(),
    ]
}

#[test]
fn untrusted_text_never_becomes_markup() {
    for html in every_page() {
        let html = html.unwrap();
        assert!(html.contains("&#60;script&#62;alert(1)"), "the text is shown: {html}");
        assert!(!html.contains("<img src=x"), "{html}");
        assert_eq!(html.matches("<script").count(), 1, "only our own script: {html}");
    }
}

#[test]
fn no_page_needs_more_than_the_strict_content_security_policy() {
    for html in every_page() {
        let html = html.unwrap().replace(&askama_escaped(HOSTILE), "");
        for inline in
            [" style=", "<style", " onclick=", " onerror=", " onload=", "javascript:", "http://", "https://"]
        {
            assert!(!html.contains(inline), "{inline} in {html}");
        }
    }
}

/// Returns `text` as askama escapes it, to remove it before searching for inline styles and scripts.
fn askama_escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' | '<' | '>' | '\'' | '&' => format!("&#{};", u32::from(c)),
            other => other.to_string(),
        })
        .collect()
}

#[test]
fn the_login_page_shows_errors_and_escapes_input() {
    let page = |once: Option<&str>| LoginPage {
        title: "Log in",
        once: once.map(str::to_owned),
        nothing_set: false,
        next: HOSTILE.into(),
        named: true,
        name: HOSTILE.into(),
        min_length: 8,
        error: Some(HOSTILE.into()),
    };
    for html in [page(None).render(), page(Some(HOSTILE)).render()] {
        let html = html.unwrap();
        assert!(html.contains("role=\"alert\">&#34;&#62;&#60;script"), "{html}");
        // The page has no script.
        assert!(!html.contains("<script") && !html.contains("<img src=x"), "{html}");
    }
    assert!(page(Some("token")).render().unwrap().contains("name=\"repeat\""));
    let nothing = LoginPage { nothing_set: true, ..page(None) }.render().unwrap();
    assert!(nothing.contains("homereel password link") && !nothing.contains("<form"), "{nothing}");
}

#[test]
fn a_viewer_sees_no_forms_that_would_be_rejected() {
    let viewer = |shell: Shell| Shell { may_change: false, may_delete: false, ..shell };
    let (library, video, jobs, trash) = (library(), video(), jobs(), trash());
    let pages = [
        LibraryPage { shell: viewer(library.shell.clone()), trashed: None, ..library }.render(),
        VideoPage { shell: viewer(video.shell.clone()), ..video }.render(),
        JobsPage { shell: viewer(jobs.shell.clone()), ..jobs }.render(),
        TrashPage { shell: viewer(trash.shell.clone()), ..trash }.render(),
    ];
    for html in pages {
        let html = html.unwrap();
        let forms: Vec<&str> = html.split("<form").skip(1).filter(|form| form.contains("\"post\"")).collect();
        assert!(forms.iter().all(|form| form.contains("/logout")), "{forms:?}");
    }
}

#[test]
fn an_empty_library_has_instructions() {
    let page = LibraryPage { videos: vec![], ..library() };
    let html = page.render().unwrap();
    assert!(html.contains("There is no video here yet."));
    assert!(!html.contains("class=\"card\""));
}

#[test]
fn the_demo_model_has_a_notice_with_the_command_for_a_real_one() {
    let html = library().render().unwrap();
    assert!(html.contains("only knows coloured shapes"));
    assert!(html.contains("--model Qwen/Qwen3-VL-8B-Instruct"));
    let real = LibraryPage {
        shell: shell(ModelStatus::Ready { id: "Qwen/Qwen3-VL-8B-Instruct".into() }),
        ..library()
    };
    assert!(!real.render().unwrap().contains("coloured shapes"));
}

#[test]
fn moments_are_links_without_javascript() {
    let html = video().render().unwrap();
    assert!(html.contains("href=\"?t=3.5#player-box\""));
    assert!(html.contains("src=\"/api/videos/1/file#t=3.5\""));
    assert!(html.contains("kind=\"chapters\""));
}

#[test]
fn a_finished_page_does_not_reload_itself() {
    let waiting = library().render().unwrap();
    assert!(waiting.contains("http-equiv=\"refresh\""));
    let mut page = library();
    page.shell.unfinished = false;
    assert!(!page.render().unwrap().contains("http-equiv=\"refresh\""));
}
