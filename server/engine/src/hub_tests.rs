//! Tests of the cache, and of downloads from a local stub of the hub.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::download::{DownloadReporter, check_hash, is_wanted};
use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("homereel-hub-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn hub(cache: &Path, endpoint: Option<String>) -> Hub {
    Hub { cache: Cache::new(cache.to_owned()), endpoint, offline: false }
}

fn put(cache: &Path, files: &[(&str, &str)]) {
    let model = cache.join("models--Qwen--Qwen3-VL-2B-Instruct");
    std::fs::create_dir_all(model.join("refs")).unwrap();
    std::fs::write(model.join("refs/main"), COMMIT).unwrap();
    let snapshot = model.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    for (name, body) in files {
        std::fs::write(snapshot.join(name), body).unwrap();
    }
}

#[test]
fn ids_and_revisions_cannot_leave_the_cache() {
    assert!(is_id("Qwen/Qwen3-VL-8B-Instruct") && is_id("a/b.c_d-1"));
    for bad in ["a", "a/b/c", "../b", "a/..", "a/.b", "/b", "a/", "a b/c", "ä/b"] {
        assert!(!is_id(bad), "{bad}");
    }
    assert!(is_revision("main") && is_revision(COMMIT) && is_revision("refs/pr/1"));
    for bad in ["", "..", "a/../b", "a//b", "/a"] {
        assert!(!is_revision(bad), "{bad}");
    }
}

#[test]
fn a_model_is_complete_when_every_shard_is_there() {
    let path = scratch("complete");
    let hub = hub(&path, None);
    let id = "Qwen/Qwen3-VL-2B-Instruct";
    assert_eq!(hub.cached(id, None), None);
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    put(
        &path,
        &[
            ("config.json", "{}"),
            ("tokenizer.json", "{}"),
            ("model.safetensors.index.json", index),
            ("model-1.safetensors", "1234"),
        ],
    );
    assert!(!hub.cached(id, None).unwrap().complete, "a shard is missing");
    put(&path, &[("model-2.safetensors", "5678")]);
    let model = hub.cached(id, None).unwrap();
    assert!(model.complete);
    assert_eq!(model.commit, COMMIT);
    assert_eq!(model.bytes, 2 + 2 + 8 + index.len() as u64);
    assert_eq!(hub.cached(id, Some(COMMIT)), Some(model.clone()), "by commit");
    assert_eq!(hub.cached(id, Some("v2")), None);
    assert_eq!(hub.list(), [model]);
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_found_and_removed() {
    let path = scratch("hash");
    let good = Sha256::digest(b"weights").iter().map(|b| format!("{b:02x}")).collect::<String>();
    for (body, fits) in [("weights", true), ("weighTs", false)] {
        let (blob, pointer) = (path.join(&good), path.join("model.safetensors"));
        std::fs::write(&blob, body).unwrap();
        let _ = std::fs::remove_file(&pointer);
        std::os::unix::fs::symlink(&blob, &pointer).unwrap();
        let result = check_hash(&pointer).await;
        assert_eq!(result.is_ok(), fits, "{result:?}");
        assert_eq!((blob.exists(), pointer.is_symlink()), (fits, fits));
    }
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn only_files_that_an_engine_reads_are_fetched() {
    let wanted =
        ["config.json", "chat_template.jinja", "model-00001-of-00004.safetensors", "1_Pooling/config.json"];
    for name in wanted {
        assert!(is_wanted(name), "{name}");
    }
    for name in [
        "README.md",
        "pytorch_model.bin",
        "onnx/model.json",
        "onnx/config.json",
        "../config.json",
        "1_a/../config.json",
        "1_a/b/config.json",
        ".gitattributes",
    ] {
        assert!(!is_wanted(name), "{name}");
    }
}

/// What the stub serves: bodies by file name, with the hash of the correct body.
struct StubHub {
    files: HashMap<&'static str, (Vec<u8>, String)>,
    /// Requests for bytes of a file, beyond the first.
    reads: AtomicUsize,
    /// The read that is cut off.
    breaks_at: Option<usize>,
    /// Sent instead of the hash of a file.
    etag: Option<&'static str>,
    /// Sent as the commit, of a file and of the list.
    commits: [&'static str; 2],
}

fn sha256(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn stub(breaks_at: Option<usize>) -> StubHub {
    let weights: Vec<u8> = (0..25_000_000u32).map(|i| (i % 251) as u8).collect();
    let bodies = [
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{}".to_vec()),
        ("README.md", b"no".to_vec()),
        ("model.safetensors", weights),
    ];
    let files = bodies.into_iter().map(|(name, body)| (name, (body.clone(), sha256(&body))));
    StubHub {
        files: files.collect(),
        reads: AtomicUsize::new(0),
        breaks_at,
        etag: None,
        commits: [COMMIT; 2],
    }
}

/// Serves `stub` on a local port; returns the endpoint.
async fn serve(stub: Arc<StubHub>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(Arc::clone(&stub), stream));
        }
    });
    endpoint
}

/// Answers one request like the hub, and closes the connection.
async fn answer(stub: Arc<StubHub>, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await? > 0 {}
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    if path.starts_with("/api/models/a/b/revision/") {
        let siblings: Vec<_> =
            stub.files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "sha": stub.commits[1], "siblings": siblings }).to_string();
        return send(&mut stream, "200 OK", "", body.as_bytes()).await;
    }
    let file = path.strip_prefix(&format!("/a/b/resolve/{COMMIT}/")).and_then(|f| stub.files.get(f));
    let Some((body, hash)) = file else {
        return send(&mut stream, "404 Not Found", "", b"").await;
    };
    let range = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let (from, to) = range
        .as_deref()
        .and_then(|range| range.split_once('-'))
        .map(|(from, to)| (from.parse::<usize>().unwrap(), to.parse::<usize>().unwrap()))
        .unwrap();
    let to = to.min(body.len() - 1);
    let headers = format!(
        "etag: \"{}\"\r\nx-repo-commit: {}\r\ncontent-range: bytes {from}-{to}/{}\r\n",
        stub.etag.unwrap_or(hash),
        stub.commits[0],
        body.len()
    );
    let broken = to > 0 && stub.breaks_at == Some(stub.reads.fetch_add(1, Ordering::SeqCst));
    let body = &body[from..=to];
    if broken {
        let head = format!("HTTP/1.1 206 Partial Content\r\n{headers}content-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await?;
        return stream.write_all(&body[..body.len() / 2]).await;
    }
    send(&mut stream, "206 Partial Content", &headers, body).await
}

async fn send(
    stream: &mut BufReader<TcpStream>,
    status: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

#[tokio::test]
async fn a_model_is_downloaded_once_with_progress_and_found_afterwards() {
    let path = scratch("pull");
    let stub = Arc::new(stub(None));
    let hub = hub(&path, Some(serve(Arc::clone(&stub)).await));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let report: DownloadReporter = Arc::new(move |progress| log.lock().unwrap().push(progress));
    let directory = hub.pull("a/b", None, Arc::clone(&report)).await.unwrap();
    assert_eq!(
        std::fs::read(directory.join("model.safetensors")).unwrap(),
        stub.files["model.safetensors"].0
    );
    assert!(!directory.join("README.md").exists(), "nobody reads it");
    let model = hub.cached("a/b", None).unwrap();
    assert!(model.complete && model.path == directory && model.commit == COMMIT);
    let reads = stub.reads.load(Ordering::SeqCst);
    {
        let seen = seen.lock().unwrap();
        let weights: Vec<_> = seen.iter().filter(|at| at.file == "model.safetensors").collect();
        assert_eq!(weights.last().unwrap().done, 25_000_000);
        assert!(weights.len() > 3 && weights.iter().all(|at| at.files == 3 && at.total == 25_000_000));
    }
    assert_eq!(hub.pull("a/b", None, report).await.unwrap(), directory);
    assert_eq!(stub.reads.load(Ordering::SeqCst), reads, "it was downloaded again");
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn a_broken_download_is_taken_up_where_it_stopped() {
    let path = scratch("resume");
    // Two small files and three ranges of the weights, in the stub's order of files.
    let stub = Arc::new(stub(Some(3)));
    let hub = hub(&path, Some(serve(Arc::clone(&stub)).await));
    let directory = hub.pull("a/b", None, Arc::new(|_| ())).await.unwrap();
    assert_eq!(
        std::fs::read(directory.join("model.safetensors")).unwrap(),
        stub.files["model.safetensors"].0
    );
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_what_the_hub_names_is_refused() {
    let path = scratch("damaged");
    let mut stub = stub(None);
    stub.files.insert("model.safetensors", (b"not the weights".to_vec(), sha256(b"the weights")));
    let hub = hub(&path, Some(serve(Arc::new(stub)).await));
    let error = hub.pull("a/b", None, Arc::new(|_| ())).await.unwrap_err().to_string();
    assert!(error.contains("model.safetensors: damaged on the way"), "{error}");
    assert!(hub.cached("a/b", None).is_none_or(|model| !model.complete));
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn a_hub_out_of_reach_is_told_unless_there_is_a_copy() {
    let path = scratch("unreachable");
    let id = "Qwen/Qwen3-VL-2B-Instruct";
    // A local port that nothing listens on.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut hub = hub(&path, Some(format!("http://{nobody}")));
    let error = hub.pull(id, None, Arc::new(|_| ())).await.unwrap_err().to_string();
    assert!(error.contains("out of reach (no connection)"), "{error}");
    hub.offline = true;
    let error = hub.pull(id, None, Arc::new(|_| ())).await.unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE"), "{error}");
    put(&path, &[("config.json", "{}"), ("tokenizer.json", "{}"), ("model.safetensors", "")]);
    for offline in [true, false] {
        hub.offline = offline;
        assert!(hub.pull(id, None, Arc::new(|_| ())).await.is_ok(), "offline: {offline}");
    }
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn a_model_that_the_hub_lacks_is_told() {
    let path = scratch("missing");
    let hub = hub(&path, Some(serve(Arc::new(stub(None))).await));
    let error = hub.pull("a/other", None, Arc::new(|_| ())).await.unwrap_err().to_string();
    assert!(error.contains("a/other") && error.contains("no such model"), "{error}");
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn names_from_a_mirror_cannot_leave_the_cache() {
    let path = scratch("hostile");
    let cases: [(Option<&str>, [&str; 2], &str); 4] = [
        (Some("../../../../evil"), [COMMIT; 2], "would fit"),
        (Some("evil/x"), [COMMIT; 2], "1 to 128 letters"),
        (None, ["../../../../evil", COMMIT], "answers for commit"),
        (None, [COMMIT, "../../../../evil"], "40 hexadecimal digits"),
    ];
    for (etag, commits, expected) in cases {
        let cache = path.join("home/hub");
        std::fs::create_dir_all(&cache).unwrap();
        let hub = hub(&cache, Some(serve(Arc::new(StubHub { etag, commits, ..stub(None) })).await));
        let error = hub.pull("a/b", None, Arc::new(|_| ())).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let files = |directory: &Path| std::fs::read_dir(directory).unwrap().count();
        assert_eq!((files(&path), files(&path.join("home")), files(&cache)), (1, 1, 0), "{error}");
    }
    std::fs::remove_dir_all(path).unwrap();
}
