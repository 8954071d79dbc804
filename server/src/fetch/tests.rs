//! Tests with servers on this machine, names that a fake resolver answers for, and a clock that is advanced.

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use futures_util::{future::BoxFuture, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Answers with one list of addresses after the other.
#[derive(Debug, Default)]
struct Names {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    fn of(answers: &[&[&str]]) -> Arc<Self> {
        let addresses = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().rev().map(addresses).collect()),
            ..Self::default()
        })
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl LookUp for Names {
    fn look_up(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        let answer = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("there is no such name")) })
    }
}

/// A server that sends one response after the other, each on a connection of its own.
struct Upstream {
    address: SocketAddr,
    requests: tokio::task::JoinHandle<Vec<String>>,
}

impl Upstream {
    async fn start(responses: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = tokio::spawn(async move {
            let mut requests = Vec::new();
            for response in responses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap();
                requests.push(String::from_utf8_lossy(&request[..read]).into_owned());
                stream.write_all(response.as_bytes()).await.unwrap();
            }
            requests
        });
        Self { address, requests }
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/clip?token=secret", self.address.port())
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

struct Home {
    library: Library,
    _data: tempfile::TempDir,
}

async fn home() -> Home {
    let data = tempfile::tempdir().unwrap();
    Home { library: Library::open(data.path()).await.unwrap(), _data: data }
}

impl Home {
    fn leftovers(&self) -> usize {
        std::fs::read_dir(self.library.scratch_dir()).unwrap().count()
    }
}

fn fetcher(hosts: &[&str], names: &Arc<Names>) -> Fetcher {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    // This machine stands for the internet, except for the addresses that are tested.
    let permitted = |address: IpAddr| address == IpAddr::from([127, 0, 0, 1]);
    Fetcher::with(hosts, Arc::clone(names) as Arc<dyn LookUp>, permitted).unwrap()
}

/// A fetcher with the rule of production.
fn strict(hosts: &[&str], names: &Arc<Names>) -> Fetcher {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Fetcher::with(hosts, Arc::clone(names) as Arc<dyn LookUp>, address::is_global).unwrap()
}

#[tokio::test]
async fn an_address_that_is_allowed_itself_is_fetched_from() {
    let (home, names) = (home().await, Names::of(&[]));
    let upstream = Upstream::start(vec![ok("a clip")]).await;
    let fetcher = strict(&[&upstream.address.to_string()], &names);
    let file = fetcher.fetch(&upstream.url("127.0.0.1"), &home.library, 100).await.unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), b"a clip");
    assert_eq!((file.size, file.sha256.len(), names.asked()), (6, 64, 0));
    drop(file);
    assert_eq!(home.leftovers(), 0);
    let request = upstream.requests.await.unwrap().remove(0).to_lowercase();
    assert!(request.starts_with("get /clip?token=secret http/1.1"), "{request}");
    assert!(request.contains("accept-encoding: identity") && !request.contains("cookie"), "{request}");
}

#[tokio::test]
async fn names_with_any_local_address_are_refused() {
    let home = home().await;
    for local in [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.5",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ] {
        let names = Names::of(&[&["8.8.8.8", local]]);
        let fetched =
            strict(&["clips.example"], &names).fetch("http://clips.example/x", &home.library, 9).await;
        assert!(matches!(fetched, Err(FetchError::Local)), "{local}: {fetched:?}");
        assert_eq!(names.asked(), 1);
    }
    let nobody =
        strict(&["clips.example"], &Names::of(&[])).fetch("http://clips.example/", &home.library, 9).await;
    assert!(matches!(nobody, Err(FetchError::Unreachable)), "{nobody:?}");
}

#[tokio::test]
async fn a_name_is_resolved_once_and_its_checked_address_is_used() {
    let home = home().await;
    let upstream = Upstream::start(vec![ok("a clip")]).await;
    let host = format!("clips.example:{}", upstream.address.port());
    // Whoever looked a second time would connect elsewhere.
    let names = Names::of(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let rebinding = fetcher(&[&host], &names);
    rebinding.fetch(&upstream.url("clips.example"), &home.library, 100).await.unwrap();
    assert_eq!(names.asked(), 1);
    // The next fetch looks, and checks, again.
    let again = rebinding.fetch(&upstream.url("clips.example"), &home.library, 100).await;
    assert!(matches!(again, Err(FetchError::Local)), "{again:?}");
    let request = upstream.requests.await.unwrap().remove(0);
    assert!(request.contains(&format!("host: {host}")), "{request}");
}

#[tokio::test]
async fn urls_of_other_forms_and_hosts_are_refused_before_anything_is_looked_up() {
    let (home, names) = (home().await, Names::of(&[]));
    let fetcher = strict(&["clips.example", "192.168.1.5:8000"], &names);
    for (url, word) in [
        ("http://me@clips.example/x", "user name"),
        ("http://me:secret@clips.example/x", "user name"),
        ("http://@clips.example/x", "user name"),
        ("http://clips.example\\@evil.example/x", "backslash"),
        ("http:\\\\clips.example/x", "backslash"),
        ("http://clips.exa\nmple/x", "control"),
        ("http://clips.example/a b", "white space"),
        ("http://", "not valid"),
        ("ftp://clips.example/x", "scheme"),
        ("http://evil.example/x", "not allowed"),
        ("http://clips.example:8080/x", "not allowed"),
        ("http://clips.example.evil.example/x", "not allowed"),
        ("http://127.0.0.1/x", "not allowed"),
        ("http://2130706433/x", "not allowed"),
        ("http://0x7f.1/x", "not allowed"),
        ("http://0177.0.0.1/x", "not allowed"),
        ("http://[::1]/x", "not allowed"),
        ("http://[::ffff:192.168.1.5]:8000/x", "not allowed"),
        ("http://169.254.169.254/latest/meta-data", "not allowed"),
        ("http://192.168.1.5/x", "not allowed"),
    ] {
        let error = fetcher.fetch(url, &home.library, 9).await.unwrap_err().to_string();
        assert!(error.contains(word), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let long = format!("http://clips.example/{}", "x".repeat(MAX_URL));
    assert!(matches!(fetcher.fetch(&long, &home.library, 9).await, Err(FetchError::Form(_))));
    let none = Fetcher::new(Vec::new()).unwrap().fetch("HTTPS://clips.example/x", &home.library, 9).await;
    assert!(none.unwrap_err().to_string().starts_with("https URLs are not fetched"));
    assert_eq!(names.asked(), 0);
}

#[tokio::test]
async fn every_redirect_is_checked_like_the_url_itself() {
    let home = home().await;
    let to_private = |host: &str| redirect(&format!("http://{host}/x"));
    for target in ["169.254.169.254", "127.0.0.1:1", "evil.example", "me:secret@clips.example", "[::1]"] {
        let names = Names::of(&[&["127.0.0.1"]]);
        let upstream = Upstream::start(vec![to_private(target)]).await;
        let host = format!("clips.example:{}", upstream.address.port());
        let fetched = fetcher(&[&host], &names).fetch(&upstream.url("clips.example"), &home.library, 9).await;
        assert!(matches!(fetched, Err(FetchError::Redirect)), "{target}: {fetched:?}");
        assert_eq!(names.asked(), 1, "{target}");
    }
    // An allowed name that resolves to a private address.
    let names = Names::of(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let upstream = Upstream::start(vec![to_private("other.example")]).await;
    let hosts = [format!("clips.example:{}", upstream.address.port()), "other.example".to_owned()];
    let hosts = [hosts[0].as_str(), hosts[1].as_str()];
    let fetched = fetcher(&hosts, &names).fetch(&upstream.url("clips.example"), &home.library, 9).await;
    assert!(matches!(fetched, Err(FetchError::Local)), "{fetched:?}");

    let allowed = |upstream: &Upstream| fetcher(&[&upstream.address.to_string()], &Names::of(&[]));
    let upstream = Upstream::start(vec![redirect("/1"), redirect("2"), redirect("?3"), ok("a clip")]).await;
    let file = allowed(&upstream).fetch(&upstream.url("127.0.0.1"), &home.library, 9).await.unwrap();
    assert_eq!(file.size, 6);
    let endless = Upstream::start(vec![redirect("/again"); 4]).await;
    let fetched = allowed(&endless).fetch(&endless.url("127.0.0.1"), &home.library, 9).await;
    assert!(matches!(fetched, Err(FetchError::Redirects)), "{fetched:?}");
}

#[tokio::test]
async fn responses_that_are_no_file_are_refused_without_their_text() {
    let home = home().await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nf\r\n0123456789abcde\r\n0\r\n\r\n";
    for (response, word) in [
        ("HTTP/1.1 404 SECRET\r\ncontent-length: 6\r\n\r\nSECRET".to_owned(), "did not return"),
        ("HTTP/1.1 500 SECRET\r\ncontent-length: 0\r\n\r\n".to_owned(), "did not return"),
        ("HTTP/1.1 206 SECRET\r\ncontent-length: 6\r\n\r\nSECRET".to_owned(), "did not return"),
        ("HTTP/1.1 302 SECRET\r\ncontent-length: 0\r\n\r\n".to_owned(), "did not return"),
        (
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\nSECRET".to_owned(),
            "Content-Encoding",
        ),
        ("SECRET of another protocol\r\n\r\n".to_owned(), "could not be reached"),
        (ok("0123456789abcde"), "larger than the 10 bytes"),
        (chunked.to_owned(), "larger than the 10 bytes"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nSEC".to_owned(), "connection was lost"),
        (ok(""), "empty"),
    ] {
        let upstream = Upstream::start(vec![response.clone()]).await;
        let fetcher = strict(&[&upstream.address.to_string()], &Names::of(&[]));
        let error =
            fetcher.fetch(&upstream.url("127.0.0.1"), &home.library, 10).await.unwrap_err().to_string();
        assert!(error.contains(word), "{response}: {error}");
        assert!(!error.contains("SECRET") && !error.contains("127.0.0.1"), "{error}");
        assert_eq!(home.leftovers(), 0, "{response}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_or_never_comes_is_given_up() {
    let data = tempfile::tempdir().unwrap();
    // The clock of the database's pool would run as well.
    tokio::time::resume();
    let library = Library::open(data.path()).await.unwrap();
    tokio::time::pause();
    let Deadlines { idle, total, .. } = DEADLINES;
    let trickle = stream::unfold((), |()| async {
        tokio::time::sleep(DEADLINES.idle - Duration::from_secs(1)).await;
        Some((Ok::<_, io::Error>(Bytes::from_static(b"x")), ()))
    });
    let started = tokio::time::Instant::now();
    let incoming = library.incoming_scratch(None, 1 << 30).await.unwrap();
    let endless = timeout(total, save(trickle, incoming, 1 << 30, idle)).await;
    assert!(endless.is_err() && started.elapsed() >= total);
    let started = tokio::time::Instant::now();
    let incoming = library.incoming_scratch(None, 1 << 30).await.unwrap();
    let silent = save(stream::pending::<Result<Bytes, io::Error>>(), incoming, 1 << 30, idle).await;
    assert!(matches!(silent, Err(FetchError::TooSlow)) && started.elapsed() >= idle, "{silent:?}");
    assert_eq!(std::fs::read_dir(library.scratch_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn every_deadline_ends_a_fetch() {
    let home = home().await;
    let never = Duration::from_secs(1 << 30);
    for (deadlines, response) in [
        (Deadlines { head: Duration::ZERO, idle: never, total: never }, ""),
        (Deadlines { head: never, idle: never, total: Duration::ZERO }, ""),
        (
            Deadlines { head: never, idle: Duration::ZERO, total: never },
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // A response before the request would be an error.
            assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
            stream.write_all(response.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut fetcher = strict(&[&address.to_string()], &Names::of(&[]));
        fetcher.deadlines = deadlines;
        let fetched = fetcher.fetch(&format!("http://{address}/"), &home.library, 100).await;
        assert!(matches!(fetched, Err(FetchError::TooSlow)), "{deadlines:?}: {fetched:?}");
        silent.abort();
    }
}

#[test]
fn a_redirect_does_not_leave_https() {
    let fetcher = strict(&["clips.example"], &Names::of(&[]));
    let leads = |from: &str, to: &str| fetcher.redirected(&from.parse().unwrap(), to).map(String::from);
    assert_eq!(
        leads("http://clips.example/a/b", "https://clips.example/c").unwrap(),
        "https://clips.example/c"
    );
    assert_eq!(leads("https://clips.example/a/b", "../c").unwrap(), "https://clips.example/c");
    for to in
        ["http://clips.example/c", "\\\\evil.example/c", "//evil.example/c", "file:///etc/passwd", "data:,x"]
    {
        assert!(matches!(leads("https://clips.example/a", to), Err(FetchError::Redirect)), "{to}");
    }
}

#[tokio::test]
async fn only_so_many_are_fetched_at_once_and_who_leaves_makes_room() {
    let home = home().await;
    let upstream = Upstream::start(vec![ok("a clip")]).await;
    let fetcher = strict(&[&upstream.address.to_string()], &Names::of(&[]));
    let taken = Arc::clone(&fetcher.turns).acquire_many_owned(MAX_FETCHES as u32).await.unwrap();
    let url = upstream.url("127.0.0.1");
    let mut waiting = Box::pin(fetcher.fetch(&url, &home.library, 100));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert!(!upstream.requests.is_finished());
    drop(taken);
    waiting.await.unwrap();
    assert_eq!(fetcher.turns.available_permits(), MAX_FETCHES);
}
