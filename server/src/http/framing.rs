//! Where requests begin and end in the bytes of a connection, so that it is known whether the next one has begun: its first bytes
//! may come together with the last of the one before, which the HTTP layer takes and tells nobody of.

use std::mem;

/// How far a connection's bytes have been followed.
#[derive(Debug, Default)]
pub(super) struct Framing(Place);

#[derive(Debug)]
enum Place {
    /// In a head, or before it.
    Head { has_begun: bool, is_after_newline: bool },
    /// Behind a head of which it is not said yet how long its body is; with what has come since.
    Behind(Vec<u8>),
    /// In a body that has so many bytes left.
    Body(u64),
    /// In a chunked body.
    Chunked(Chunk),
    /// Behind a head that was not seen to end: no more is followed.
    Lost,
}

/// A place in a chunked body (RFC 9112, 7.1). What is none of it is refused by the HTTP layer, which closes the connection.
#[derive(Debug)]
enum Chunk {
    /// In the line that says how long the next chunk is.
    Size { bytes: u64, is_extension: bool },
    /// In a chunk that has so many bytes left, its line end included.
    Data(u64),
    /// In the lines behind the last chunk, of which an empty one is the end.
    Trailers { is_line_empty: bool },
}

impl Chunk {
    const FIRST: Self = Self::Size { bytes: 0, is_extension: false };
}

impl Default for Place {
    fn default() -> Self {
        Self::Head { has_begun: false, is_after_newline: false }
    }
}

impl Framing {
    /// Takes bytes that came.
    pub(super) fn came(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Place::Head { .. } => self.0 = in_head(mem::take(&mut self.0), bytes),
            Place::Behind(held) => held.extend_from_slice(bytes),
            Place::Body(left) => {
                let of_body = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= of_body as u64;
                if *left == 0 {
                    self.0 = in_head(Place::default(), bytes.get(of_body..).unwrap_or_default());
                }
            }
            Place::Chunked(chunk) => {
                if let Some(next) = in_chunks(chunk, bytes) {
                    self.0 = in_head(Place::default(), next);
                }
            }
            Place::Lost => {}
        }
    }

    /// Takes how long the body behind the last head is; none of one that is chunked.
    pub(super) fn has_body(&mut self, bytes: Option<u64>) {
        let Place::Behind(held) = mem::take(&mut self.0) else {
            self.0 = Place::Lost; // a head that was not seen to end: the HTTP layer knows better
            return;
        };
        self.0 = match bytes {
            None => Place::Chunked(Chunk::FIRST),
            Some(0) => Place::default(),
            Some(bytes) => Place::Body(bytes),
        };
        self.came(&held);
    }

    /// Whether a head has begun and not ended, as far as is known.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.0, Place::Head { has_begun: true, .. })
    }
}

/// Follows bytes in a chunked body; gives what comes behind its end.
fn in_chunks<'b>(chunk: &mut Chunk, mut bytes: &'b [u8]) -> Option<&'b [u8]> {
    while let Some((byte, rest)) = bytes.split_first() {
        if let Chunk::Data(left) = chunk {
            let of_chunk = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            *left -= of_chunk as u64;
            bytes = bytes.get(of_chunk..).unwrap_or_default();
            if *left == 0 {
                *chunk = Chunk::FIRST;
            }
            continue;
        }
        bytes = rest;
        match (&mut *chunk, byte) {
            (Chunk::Size { bytes: 0, .. }, b'\n') => *chunk = Chunk::Trailers { is_line_empty: true },
            (Chunk::Size { bytes, .. }, b'\n') => *chunk = Chunk::Data(bytes.saturating_add(2)),
            (Chunk::Trailers { is_line_empty: true }, b'\n') => return Some(rest),
            (Chunk::Trailers { is_line_empty }, b'\n') => *is_line_empty = true,
            (_, b'\r') | (Chunk::Data(_), _) => {} // chunks are taken above
            (Chunk::Trailers { is_line_empty }, _) => *is_line_empty = false,
            (Chunk::Size { bytes, is_extension }, byte) => match char::from(*byte).to_digit(16) {
                Some(digit) if !*is_extension => *bytes = bytes.saturating_mul(16).saturating_add(digit.into()),
                _ => *is_extension = true,
            },
        }
    }
    None
}

/// Follows bytes in a head: it ends with an empty line, and empty lines before it are none of it.
fn in_head(place: Place, bytes: &[u8]) -> Place {
    let Place::Head { mut has_begun, mut is_after_newline } = place else { return place };
    for (byte, behind) in bytes.iter().zip(1..) {
        match byte {
            b'\r' | b'\n' if !has_begun => {}
            b'\n' if is_after_newline => return Place::Behind(bytes.get(behind..).unwrap_or_default().to_vec()),
            b'\n' => is_after_newline = true,
            b'\r' => {}
            _ => (has_begun, is_after_newline) = (true, false),
        }
    }
    Place::Head { has_begun, is_after_newline }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds requests, in pieces of so many bytes, and says how long the body is whenever a head has ended.
    fn follow(wire: &str, piece: usize, bodies: &[Option<u64>]) -> Framing {
        let (mut framing, mut bodies) = (Framing::default(), bodies.iter());
        for piece in wire.as_bytes().chunks(piece) {
            framing.came(piece);
            while matches!(framing.0, Place::Behind(_)) {
                framing.has_body(*bodies.next().expect("a head that is expected"));
            }
        }
        assert_eq!(bodies.next(), None, "every head was seen to end");
        framing
    }

    #[test]
    fn the_beginning_of_a_next_head_is_seen_however_bytes_come() {
        let (get, post) = ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST / HTTP/1.1\ncontent-length: 5\n\nab\n\nc");
        let cases: [(String, &[Option<u64>], bool); 8] = [
            (get.to_owned(), &[Some(0)], false),
            (format!("\r\n\r\n{get}\r\n"), &[Some(0)], false),
            (format!("{get}G"), &[Some(0)], true),
            (format!("{get}{post}"), &[Some(0), Some(5)], false),
            (format!("{post}{get}{get}GET /ke"), &[Some(5), Some(0), Some(0)], true),
            (format!("{post}\r\nPO"), &[Some(5)], true),
            (post[..post.len() - 1].to_owned(), &[Some(5)], false),
            (get[..get.len() - 1].to_owned(), &[], true),
        ];
        for (wire, bodies, is_in_head) in cases {
            for piece in 1..=wire.len() {
                assert_eq!(follow(&wire, piece, bodies).is_in_head(), is_in_head, "{wire:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_end_of_a_chunked_body_is_seen_however_bytes_come() {
        let post = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        let cases = [
            (format!("{post}2\r\nab\r\n0\r\n\r\n"), 1, false),
            (format!("{post}2\r\nab\r\n0\r\n\r\nGET"), 1, true),
            (format!("{post}0\r\n\r\nPOST /h"), 1, true),
            (format!("{post}1a;name=\"0\"\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n..\r\n0\r\n\r\n"), 1, false),
            (format!("{post}2\r\n\n\n\r\n0\r\na: b\r\nc: d\r\n\r\n{post}0\r\n\r\nP"), 2, true),
            (format!("{post}2\r\nab\r\n0\r\na: b\r\n"), 1, false),
        ];
        for (wire, count, is_in_head) in cases {
            for piece in 1..=wire.len() {
                let framing = follow(&wire, piece, &vec![None; count]);
                assert_eq!(framing.is_in_head(), is_in_head, "{wire:?} in pieces of {piece}");
            }
        }
    }
}
