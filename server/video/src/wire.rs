//! The protocol between parent and worker: length-prefixed messages of a JSON header and raw bytes.
//!
//! Each message is two little-endian `u32` (lengths of header and body), the header, and the body. The parent sends [`WorkerSettings`],
//! by which the worker enters its sandbox and replies [`Reply::Ready`], then one [`Order`], whose first bytes carry the file's
//! descriptor. The worker answers with [`Reply`]s, of which the last is an end or an error. After a probe or
//! a picture, a second order for the same file may follow.

use std::{
    fs::File,
    io::{self, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::unix::net::UnixStream,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Cut, DecodeRequest, FramesEnd, Probe, Rendition, Sandbox, Span, Sprites, VideoError, speech::SoundOf,
};

/// Maximum bytes of a reply's header.
pub(crate) const MAX_HEADER: usize = 1 << 20;
/// Maximum bytes of an order; orders come from the parent, which is trusted.
const MAX_ORDER: usize = 64 << 20;
/// Bytes of a message's two lengths.
pub(crate) const PREFIX: usize = 8;

/// Settings of a worker, independent of its order.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct WorkerSettings {
    pub(crate) memory: u64,
    pub(crate) cpu_s: u64,
    /// Milliseconds between heartbeats while there is progress.
    pub(crate) beat_ms: u64,
    /// Whether to run at background priority.
    pub(crate) background: bool,
    /// Whether to open NVDEC, with a sandbox that allows it.
    pub(crate) chip: bool,
}

/// What a worker does with its file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) task: WorkerTask,
    pub(crate) max_pixels: u64,
    pub(crate) max_packets: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WorkerTask {
    Probe,
    Decode(DecodeRequest),
    Poster {
        max_width: u32,
    },
    /// Decode a still picture; a second order of `Resize` follows.
    Picture {
        max_pixels: u64,
    },
    Resize {
        width: u32,
        height: u32,
    },
    Sprites,
    /// Encode the whole clip, or a part of it.
    Rendition {
        span: Option<Span>,
    },
    /// Copy packets of a part of the clip.
    Cut(Cut),
    /// Read the sound from so many seconds after the first picture on.
    Samples {
        of: SoundOf,
        from_s: f64,
    },
}

/// A worker's reply.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The first message: the state of the sandbox.
    Ready(Sandbox),
    /// The second message, if NVDEC was requested: why it is not available, if so.
    Chip(Option<String>),
    /// A heartbeat: progress that no other message reported.
    Progress,
    /// The probe without the frame times, which are the body as little-endian `f64`.
    Probe(Box<Probe>),
    /// A frame; its pixels are the body.
    Frame { index: u64, pts_s: f64 },
    /// A small poster; the JPEG is the body. Sent before the poster.
    Card,
    /// A poster; the JPEG is the body.
    Poster,
    /// The size of a still picture, which waits for its `Resize`.
    Picture { width: u32, height: u32 },
    /// A still picture; its pixels are the body.
    Pixels,
    /// A sheet of sprites, with the number of pictures so far; the JPEG is the body.
    Sheet { done: usize, total: usize },
    /// The layout of the sheets that were sent.
    Sprites(Sprites),
    /// A piece of a rendition, which is the body, and its offset.
    Piece { offset: u64 },
    /// Number of pictures of a rendition done.
    Encoded { done: u64, total: u64 },
    /// All pieces were sent.
    Rendition(Rendition),
    /// Up to a second of sound; the body is little-endian `f32`.
    Samples,
    /// All sound was sent.
    SamplesEnd,
    /// The last frame was sent.
    End(FramesEnd),
    /// The task failed.
    Error(VideoError),
}

/// Builds the bytes before a message's body.
pub(crate) fn head(header: &impl Serialize, body: usize) -> io::Result<Vec<u8>> {
    let too_long = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let json = serde_json::to_vec(header)?;
    let mut head = Vec::with_capacity(PREFIX + json.len());
    head.extend(u32::try_from(json.len()).map_err(too_long)?.to_le_bytes());
    head.extend(u32::try_from(body).map_err(too_long)?.to_le_bytes());
    head.extend(json);
    Ok(head)
}

/// Reads the two lengths of a message.
pub(crate) fn lengths(prefix: [u8; PREFIX]) -> (usize, usize) {
    let [a, b, c, d, e, f, g, h] = prefix;
    (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize)
}

/// Writes a message.
pub(crate) fn write(to: &mut impl Write, header: &impl Serialize, body: &[u8]) -> io::Result<()> {
    to.write_all(&head(header, body.len())?)?;
    to.write_all(body)
}

/// Reads the rules, which have no body.
pub(crate) fn read_rules(from: &mut impl Read) -> io::Result<WorkerSettings> {
    let mut prefix = [0u8; PREFIX];
    from.read_exact(&mut prefix)?;
    read_header(from, prefix)
}

/// Reads an order, which has no body, and the descriptor that comes with it.
pub(crate) fn read_order(from: &mut UnixStream) -> io::Result<(Order, File)> {
    let mut prefix = [0u8; PREFIX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(&*from, &mut [IoSliceMut::new(&mut prefix)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let file = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let Some(file) = file.filter(|_| !received.flags.contains(ReturnFlags::CTRUNC)) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the order came without a file"));
    };
    from.read_exact(&mut prefix[received.bytes..])?;
    Ok((read_header(from, prefix)?, file.into()))
}

/// Reads a second order, which has no descriptor; `None` means that the parent has none.
pub(crate) fn read_next_order(from: &mut impl Read) -> io::Result<Option<Order>> {
    let mut prefix = [0u8; PREFIX];
    match from.read_exact(&mut prefix) {
        Ok(()) => Ok(Some(read_header(from, prefix)?)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a header whose two lengths were read before; it has no body.
pub(crate) fn read_header<T: DeserializeOwned>(from: &mut impl Read, prefix: [u8; PREFIX]) -> io::Result<T> {
    let (header, body) = lengths(prefix);
    if header > MAX_ORDER || body != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut json = vec![0u8; header];
    from.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}
