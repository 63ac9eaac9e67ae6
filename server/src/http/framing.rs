//! Where requests begin and end in the bytes of a connection, to know whether the next one has begun: its first bytes may arrive
//! together with the last ones of the previous request, and the HTTP layer does not report that.

use std::mem;

/// How far a connection's bytes have been followed.
#[derive(Debug, Default)]
pub(super) struct Framing(Position);

#[derive(Debug)]
enum Position {
    /// In a head, or before it.
    Head { has_begun: bool, is_after_newline: bool },
    /// After a head whose body length is not known yet; with the bytes received since.
    AfterHead(Vec<u8>),
    /// In a body with this many bytes left.
    Body(u64),
    /// In a chunked body.
    Chunked(Chunk),
    /// After a head whose end was not seen: the rest is not followed.
    Lost,
}

/// A place in a chunked body (RFC 9112, 7.1). The HTTP layer refuses anything malformed and closes the connection.
#[derive(Debug)]
enum Chunk {
    /// In the line with the size of the next chunk.
    Size { bytes: u64, is_extension: bool },
    /// In a chunk with this many bytes left, including its line end.
    Data(u64),
    /// In the lines after the last chunk; an empty line ends them.
    Trailers { is_line_empty: bool },
}

impl Chunk {
    const FIRST: Self = Self::Size { bytes: 0, is_extension: false };
}

impl Default for Position {
    fn default() -> Self {
        Self::Head { has_begun: false, is_after_newline: false }
    }
}

impl Framing {
    /// Moves on over bytes as they are received.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Position::Head { .. } => self.0 = in_head(mem::take(&mut self.0), bytes),
            Position::AfterHead(held) => held.extend_from_slice(bytes),
            Position::Body(left) => {
                let of_body = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= of_body as u64;
                if *left == 0 {
                    self.0 = in_head(Position::default(), bytes.get(of_body..).unwrap_or_default());
                }
            }
            Position::Chunked(chunk) => {
                if let Some(next) = in_chunks(chunk, bytes) {
                    self.0 = in_head(Position::default(), next);
                }
            }
            Position::Lost => {}
        }
    }

    /// Sets the length of the body after the last head; none if it is chunked.
    pub(super) fn expect_body(&mut self, bytes: Option<u64>) {
        let Position::AfterHead(held) = mem::take(&mut self.0) else {
            self.0 = Position::Lost; // the end of the head was not seen; the HTTP layer decides
            return;
        };
        self.0 = match bytes {
            None => Position::Chunked(Chunk::FIRST),
            Some(0) => Position::default(),
            Some(bytes) => Position::Body(bytes),
        };
        self.receive(&held);
    }

    /// Whether a head has begun and not ended, as far as is known.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.0, Position::Head { has_begun: true, .. })
    }
}

/// Follows bytes in a chunked body; gives the bytes after its end.
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
            (_, b'\r') | (Chunk::Data(_), _) => {} // chunk data is handled above
            (Chunk::Trailers { is_line_empty }, _) => *is_line_empty = false,
            (Chunk::Size { bytes, is_extension }, byte) => match char::from(*byte).to_digit(16) {
                Some(digit) if !*is_extension => *bytes = bytes.saturating_mul(16).saturating_add(digit.into()),
                _ => *is_extension = true,
            },
        }
    }
    None
}

/// Follows bytes in a head: it ends with an empty line; empty lines before it are not part of it.
fn in_head(place: Position, bytes: &[u8]) -> Position {
    let Position::Head { mut has_begun, mut is_after_newline } = place else { return place };
    for (byte, after) in bytes.iter().zip(1..) {
        match byte {
            b'\r' | b'\n' if !has_begun => {}
            b'\n' if is_after_newline => return Position::AfterHead(bytes.get(after..).unwrap_or_default().to_vec()),
            b'\n' => is_after_newline = true,
            b'\r' => {}
            _ => (has_begun, is_after_newline) = (true, false),
        }
    }
    Position::Head { has_begun, is_after_newline }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds requests in pieces of this many bytes, and sets the length of the body whenever a head has ended.
    fn follow(wire: &str, piece: usize, bodies: &[Option<u64>]) -> Framing {
        let (mut framing, mut bodies) = (Framing::default(), bodies.iter());
        for piece in wire.as_bytes().chunks(piece) {
            framing.receive(piece);
            while matches!(framing.0, Position::AfterHead(_)) {
                framing.expect_body(*bodies.next().expect("an expected head"));
            }
        }
        assert_eq!(bodies.next(), None, "every head was seen to end");
        framing
    }

    #[test]
    fn the_start_of_the_next_head_is_found_however_bytes_arrive() {
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
    fn the_end_of_a_chunked_body_is_found_however_bytes_arrive() {
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
