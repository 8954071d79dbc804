//! Reads the date that camcorders write beside each picture: in H.264 of AVCHD (`MDPM` in SEI), and in DV.

use jiff::{
    civil::{Date, Time},
    tz::Offset,
};

use super::TakenTime;

/// Bytes of a packet that are searched. In H.264, the data is before the picture; in DV, in each tenth or twelfth.
const MAX: usize = 16 << 10;

/// Begins the user data of AVCHD: its identifier and name.
const MDPM: [u8; 20] = *b"\x17\xee\x8c\x60\xf8\x4d\x11\xd9\x8c\xd6\x08\x00\x20\x0c\x9a\x66MDPM";

/// Size of a block of DV.
const BLOCK: usize = 80;

/// Returns the date in a packet of a stream with this codec.
pub(crate) fn in_packet(codec: &str, packet: &[u8]) -> Option<TakenTime> {
    let packet = &packet[..packet.len().min(MAX)];
    match codec {
        "h264" => mdpm(packet),
        "dvvideo" => dv(packet),
        _ => None,
    }
}

fn mdpm(packet: &[u8]) -> Option<TakenTime> {
    let at = packet.windows(MDPM.len()).position(|bytes| bytes == MDPM)?;
    let data = unescaped(packet.get(at + MDPM.len()..)?.get(..1024).unwrap_or(&packet[at + MDPM.len()..]));
    let (count, entries) = data.split_first()?;
    let (mut day, mut clock) = (None, None);
    // Each entry is a tag and four bytes.
    let (entries, _) = entries.as_chunks::<5>();
    for [tag, value @ ..] in entries.iter().take(usize::from(*count)) {
        match tag {
            0x18 => day = Some(*value),
            0x19 => clock = Some(*value),
            _ => {}
        }
    }
    let ([zone, century, year, month], [day, hour, minute, second]) = (day?, clock?);
    let year = i16::from(decimal(century)?) * 100 + i16::from(decimal(year)?);
    let date = Date::new(year, decimal(month)?, decimal(day)?).ok()?;
    let time = Time::new(decimal(hour)?, decimal(minute)?, decimal(second)?, 0).ok()?;
    let local = date.to_datetime(time);
    // Unused, summer time, sign, four bits of hours, half an hour.
    let seconds = i32::from(zone >> 1 & 0x0f) * 3600 + i32::from(zone & 1) * 1800;
    let seconds = if zone & 0x20 == 0 { seconds } else { -seconds };
    let offset =
        Offset::from_seconds(seconds).ok().filter(|_| zone & 0x80 == 0 && seconds.abs() <= 14 * 3600);
    Some(offset.map_or(TakenTime::Local(local), |offset| TakenTime::Zoned(local, offset)))
}

/// Removes the bytes that keep H.264 from containing a start code.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for &byte in bytes {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    plain
}

fn dv(packet: &[u8]) -> Option<TakenTime> {
    let (mut date, mut time) = (None, None);
    let (blocks, _) = packet.as_chunks::<BLOCK>();
    // Blocks of auxiliary data of the picture; three bytes, then packs of five.
    for block in blocks.iter().filter(|block| block[0] & 0xf0 == 0x50) {
        let (packs, _) = block[3..].as_chunks::<5>();
        for pack in packs {
            match pack[0] {
                0x62 if date.is_none() => date = dv_date(*pack),
                0x63 if time.is_none() => time = dv_time(*pack),
                _ => {}
            }
        }
    }
    // The zone is rarely set, and its sign is unknown.
    let date = date?;
    Some(time.map_or(TakenTime::Day(date), |time| TakenTime::Local(date.to_datetime(time))))
}

fn dv_date([_, _, day, month, year]: [u8; 5]) -> Option<Date> {
    let year = i16::from(decimal(year)?);
    // DV began in 1995.
    let year = if year >= 75 { 1900 + year } else { 2000 + year };
    Date::new(year, decimal(month & 0x1f)?, decimal(day & 0x3f)?).ok()
}

fn dv_time([_, _, second, minute, hour]: [u8; 5]) -> Option<Time> {
    Time::new(decimal(hour & 0x3f)?, decimal(minute & 0x7f)?, decimal(second & 0x7f)?, 0).ok()
}

/// Reads two decimal digits in a byte.
fn decimal(byte: u8) -> Option<i8> {
    let (tens, ones) = (byte >> 4, byte & 0x0f);
    (tens < 10 && ones < 10).then(|| i8::try_from(tens * 10 + ones).ok())?
}
