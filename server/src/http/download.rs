//! `/videos/download`: the originals of a selection, an album or a tag in one ZIP file.
//!
//! The file is written while it is sent: nothing is stored, and a client that leaves ends it.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use axum::{
    Form,
    body::{Body, Bytes},
    extract::rejection::FormRejection,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use homereel_library::{Collection, Cursor, MAX_BATCH, Video};
use jiff::civil::DateTime;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use zip::{CompressionMethod, ZipWriter, result::ZipError, write::SimpleFileOptions};

use super::{
    error::Failure,
    extract::Query,
    files::disposition,
    html::{self, PageContext},
};
use crate::{file_name::free_name, state::AppState};

/// Downloads at once. Each has a thread.
static DOWNLOADS: Semaphore = Semaphore::const_new(4);

/// Bytes that are sent at once, and how many of these parts wait for a slow client.
const PART: usize = 256 << 10;
const PARTS: usize = 4;

/// From this size on, an entry has the fields of ZIP64.
const LARGE: u64 = 0xFFFF_0000;

/// Query: an album or a tag.
#[derive(Debug, Deserialize)]
pub(super) struct DownloadQuery {
    album: Option<String>,
    tag: Option<String>,
}

/// An original and its name in the file.
struct Entry {
    name: String,
    path: PathBuf,
    size: u64,
    taken: DateTime,
}

/// `GET /videos/download?album=ID` or `?tag=NAME`
pub(super) async fn of_collection(cx: PageContext, Query(query): Query<DownloadQuery>) -> Response {
    let work = async || {
        let library = &cx.state.library;
        let (collection, name) = match (query.album, query.tag) {
            (Some(id), None) => {
                let name = library.album(&id).await?.name;
                (Collection::Album(id), name)
            }
            (None, Some(tag)) => (Collection::Tag(tag.clone()), tag),
            _ => {
                return Err(Failure::invalid(
                    "album",
                    "the album is missing; album=ID or tag=NAME would fit",
                ));
            }
        };
        let videos = library.collection(&collection, &Cursor::Start, MAX_BATCH + 1).await?.videos;
        send(&cx.state, videos, &name)
    };
    html::or_error(&cx, work().await)
}

/// `POST /videos/download`: the form of a list, whose fields `id` repeat.
pub(super) async fn of_selection(
    cx: PageContext,
    fields: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(fields) = fields?;
        let ids: Vec<&str> =
            fields.iter().filter(|(name, _)| name == "id").map(|(_, id)| id.as_str()).collect();
        let mut videos: Vec<Video> = cx.state.library.videos_by_id(&ids).await?.into_values().collect();
        videos.retain(|video| video.deleted_ms.is_none());
        videos.sort_unstable_by(|one, other| (one.local(), &one.id).cmp(&(other.local(), &other.id)));
        send(&cx.state, videos, "Videos")
    };
    html::or_error(&cx, work().await)
}

/// Answers with the originals of videos as `name`.zip.
fn send(state: &AppState, videos: Vec<Video>, name: &str) -> Result<Response, Failure> {
    if videos.is_empty() {
        return Err(Failure::not_found("there is no video to download; select some first"));
    }
    if videos.len() > MAX_BATCH {
        let message = format!("at most {MAX_BATCH} videos can be downloaded at once; select fewer");
        return Err(Failure::invalid("id", message));
    }
    let Ok(permit) = DOWNLOADS.try_acquire() else {
        let mut failure = Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "other downloads are running; try again when one of them has ended",
        );
        failure.retry_after_s = Some(30);
        return Err(failure);
    };
    let mut names = HashSet::new();
    let entries = videos.iter().map(|video| Entry {
        name: free_name(video, &mut names),
        path: state.library.original_path(&video.sha256),
        size: video.size,
        taken: video.local(),
    });
    let entries: Vec<Entry> = entries.collect();
    let (parts, received) = mpsc::channel(PARTS);
    tokio::task::spawn_blocking(move || write_all(&entries, &parts, permit));
    let mut response = Body::from_stream(ReceiverStream::new(received)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let disposition = disposition("attachment", &format!("{name}.zip"));
    headers
        .insert(header::CONTENT_DISPOSITION, HeaderValue::from_str(&disposition).map_err(Failure::internal)?);
    Ok(response)
}

/// Writes the file until it is complete, or the client has left.
fn write_all(entries: &[Entry], parts: &mpsc::Sender<io::Result<Bytes>>, permit: SemaphorePermit<'static>) {
    let written = write(entries, PartWriter { parts: parts.clone(), pending: Vec::with_capacity(PART) });
    if let Err(error) = written
        && !parts.is_closed()
    {
        tracing::warn!(%error, "failed to write a download of several videos; the client gets part of it");
        // Ends the connection, so that the client does not take what it has for the whole file.
        let _ = parts.blocking_send(Err(io::Error::other(error)));
    }
    drop(permit);
}

fn write(entries: &[Entry], out: impl Write) -> Result<(), ZipError> {
    let mut zip = ZipWriter::new_stream(out);
    for entry in entries {
        let options = SimpleFileOptions::default()
            // Videos are compressed already.
            .compression_method(CompressionMethod::Stored)
            .large_file(entry.size >= LARGE)
            .last_modified_time(modified(entry.taken))
            .unix_permissions(0o644);
        zip.start_file(entry.name.as_str(), options)?;
        io::copy(&mut File::open(&entry.path)?, &mut zip)?;
    }
    zip.finish()?.into_inner().flush()?;
    Ok(())
}

/// Returns a time as a ZIP file has it: from 1980 on.
fn modified(time: DateTime) -> zip::DateTime {
    let unsigned = |number: i8| u8::try_from(number).unwrap_or_default();
    u16::try_from(time.year())
        .ok()
        .and_then(|year| {
            let (month, day) = (unsigned(time.month()), unsigned(time.day()));
            let (hour, minute, second) =
                (unsigned(time.hour()), unsigned(time.minute()), unsigned(time.second()));
            zip::DateTime::from_date_and_time(year, month, day, hour, minute, second).ok()
        })
        .unwrap_or_default()
}

/// Sends what is written in parts, and fails once the client has left.
struct PartWriter {
    parts: mpsc::Sender<io::Result<Bytes>>,
    pending: Vec<u8>,
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PART {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.pending, Vec::with_capacity(PART));
        self.parts.blocking_send(Ok(part.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_file_has_names_times_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("original");
        std::fs::write(&path, b"content").unwrap();
        let entry =
            |name: &str, taken: DateTime| Entry { name: name.into(), path: path.clone(), size: 7, taken };
        let film = jiff::civil::date(1963, 8, 28).at(12, 0, 0, 0);
        let phone = jiff::civil::date(2019, 7, 14).at(15, 30, 20, 0);
        let mut out = Vec::new();
        write(&[entry("Film ß.mp4", film), entry("phone.mp4", phone)], &mut out).unwrap();
        let mut zip = zip::ZipArchive::new(io::Cursor::new(out)).unwrap();
        let mut found = Vec::new();
        for index in 0..zip.len() {
            let mut file = zip.by_index(index).unwrap();
            let mut content = String::new();
            file.read_to_string(&mut content).unwrap();
            assert_eq!((file.compression(), content.as_str()), (CompressionMethod::Stored, "content"));
            found.push((
                file.name().unwrap().into_owned(),
                file.last_modified().map(|time| (time.year(), time.minute())),
            ));
        }
        let expected =
            [("Film ß.mp4".to_owned(), Some((1980, 0))), ("phone.mp4".to_owned(), Some((2019, 30)))];
        assert_eq!(found, expected);
    }

    #[test]
    fn writing_ends_when_the_client_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("original");
        std::fs::write(&path, vec![1; 4 * PART]).unwrap();
        let taken = jiff::civil::date(2019, 7, 14).at(0, 0, 0, 0);
        let entries = [Entry { name: "a.mp4".into(), path, size: 4 * PART as u64, taken }];
        let (parts, received) = mpsc::channel(1);
        drop(received);
        let written = write(&entries, PartWriter { parts, pending: Vec::new() });
        assert!(matches!(written, Err(ZipError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe));
    }
}
