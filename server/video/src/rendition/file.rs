//! Muxes an MP4 with the index first without a file: each piece is sent with its offset.
//!
//! Space for the index is reserved at the start (ffmpeg's `moov_size`), because bytes that were sent cannot be moved. Its size
//! is estimated from the number of pictures and audio packets.

use std::io::{self, Seek, SeekFrom, Write};

use ffmpeg_next::{
    Dictionary, Error, Packet, Rational, codec,
    format::{self, context::StreamIo},
};

/// Bytes of the index for each packet: size, duration, offset of display, place, and its share of the tables' heads.
const INDEX_BYTES: u64 = 44;
/// Bytes of the index beside the packets.
const INDEX_HEAD: u64 = 64 << 10;
/// Bytes that go out at once.
pub(super) const PIECE: usize = 256 << 10;

/// What will be in the file, at most.
pub(super) struct Expected {
    pub(super) pictures: u64,
    pub(super) seconds: f64,
    /// Samples of sound per second.
    pub(super) rate: Option<u32>,
}

impl Expected {
    /// Returns the bytes that are reserved for the index.
    pub(super) fn index_bytes(&self) -> u64 {
        let packets = self.rate.map_or(0.0, |rate| self.seconds * f64::from(rate) / 1024.0) as u64;
        (INDEX_HEAD + INDEX_BYTES * (self.pictures + packets + 64)).min(i32::MAX as u64)
    }
}

/// A file on its way out.
pub(super) struct Mp4 {
    output: format::context::Output,
}

/// Which of the two streams.
#[derive(Clone, Copy)]
pub(super) enum Track {
    Pictures = 0,
    Sound = 1,
}

impl Mp4 {
    pub(super) fn begin(
        pictures: &codec::Context,
        sound: Option<&codec::Context>,
        expected: Expected,
        put: impl FnMut(u64, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<Self, Error> {
        let places = Places { put, position: 0, end: 0 };
        let io = StreamIo::from_write_seek_with_capacity(places, PIECE)?;
        let mut output = format::output_to_stream(io, None, Some("mp4"))?;
        for context in [Some(pictures), sound].into_iter().flatten() {
            output.add_stream_with(context)?.set_time_base(context.time_base());
        }
        let mut options = Dictionary::new();
        options.set("moov_size", &expected.index_bytes().to_string());
        output.write_header_with(options)?;
        Ok(Self { output })
    }

    /// Takes a packet whose times are in `base`.
    pub(super) fn take(&mut self, track: Track, packet: &mut Packet, base: Rational) -> Result<(), Error> {
        let index = track as usize;
        let own = self.output.stream(index).ok_or(Error::StreamNotFound)?.time_base();
        packet.set_stream(index);
        packet.rescale_ts(base, own);
        packet.write_interleaved(&mut self.output)
    }

    pub(super) fn end(mut self) -> Result<(), Error> {
        self.output.write_trailer()
    }
}

/// A file that nobody reads: writing says where.
struct Places<F> {
    put: F,
    position: u64,
    end: u64,
}

impl<F: FnMut(u64, &[u8]) -> io::Result<()>> Write for Places<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.chunks(PIECE) {
            (self.put)(self.position, piece)?;
            self.position += piece.len() as u64;
        }
        self.end = self.end.max(self.position);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F> Seek for Places<F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(offset) => (self.position, offset),
            SeekFrom::End(offset) => (self.end, offset),
        };
        self.position = base.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
