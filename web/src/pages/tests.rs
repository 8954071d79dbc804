//! Pages filled with untrusted text, and the states of lists.

mod samples;

use super::*;
use samples::*;

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(2)>' & \u{202e}";

fn every_page() -> [Result<String, askama::Error>; 14] {
    [
        library().render(),
        video().render(),
        edit().render(),
        search().render(),
        ask().render(),
        albums().render(),
        album().render(),
        arrange().render(),
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
        assert_eq!(html.matches("<script").count(), 2, "only our own script and its messages: {html}");
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
        words: Words::english(),
        title: "Log in".into(),
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
        assert!(html.contains("role=\"alert\"><bdi>&#34;&#62;&#60;script"), "{html}");
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
        assert!(
            forms.iter().all(|form| form.contains("/logout") || form.contains("\"/videos/download\"")),
            "{forms:?}"
        );
    }
}

#[test]
fn an_empty_library_has_instructions() {
    let page = LibraryPage { is_empty: true, ..library() };
    let html = page.render().unwrap();
    assert!(html.contains("No videos yet"));
    assert!(!html.contains("class=\"card\""));
}

#[test]
fn the_demo_model_is_named_on_every_page_and_a_real_one_is_not() {
    let html = library().render().unwrap();
    assert!(html.contains("Demo model") && html.contains("only knows coloured shapes"));
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
fn what_is_said_is_shown_as_captions_and_lines_without_javascript() {
    let html = video().render().unwrap();
    let track = "<track kind=\"captions\" srclang=\"en\" label=\"What is said\" src=\"/api/videos/1/transcript.vtt?v=2\">";
    assert!(html.contains(track), "{html}");
    assert!(html.contains("href=\"?t=83.0#player-box\" data-seek=\"83.0\""));
    assert!(html.contains("action=\"/videos/1/transcript/61\""), "the form of a line");
    assert!(
        html.contains("href=\"?lines=60&#38;edit=61#edit-line\"")
            || html.contains("?lines=60&amp;edit=61#edit-line")
    );
    let off = VideoPage { transcript: None, captions: None, ..video() }.render().unwrap();
    assert!(
        !off.contains("What is said") && !off.contains("transcript."),
        "nothing of it where nothing transcribes"
    );
}

#[test]
fn a_finished_page_does_not_reload_itself() {
    let waiting = library().render().unwrap();
    assert!(waiting.contains("http-equiv=\"refresh\""));
    let mut page = library();
    page.shell.unfinished = false;
    assert!(!page.render().unwrap().contains("http-equiv=\"refresh\""));
}
