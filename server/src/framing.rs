//! Where requests begin and end in the bytes of a connection, so that it is known whether the next one has begun: its first bytes
//! may come together with the last of the one before, which the HTTP layer takes and tells nobody of.

use std::mem;

/// How far a connection's bytes have been followed.
#[derive(Debug, Default)]
pub struct Framing(Place);

#[derive(Debug)]
enum Place {
    /// In a head, or before it.
    Head { has_begun: bool, is_after_newline: bool },
    /// Behind a head of which it is not said yet how long its body is; with what has come since.
    Behind(Vec<u8>),
    /// In a body that has so many bytes left.
    Body(u64),
    /// In a body whose end is not known beforehand: no more is followed.
    Lost,
}

impl Default for Place {
    fn default() -> Self {
        Self::Head { has_begun: false, is_after_newline: false }
    }
}

impl Framing {
    /// Takes bytes that came.
    pub fn came(&mut self, bytes: &[u8]) {
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
            Place::Lost => {}
        }
    }

    /// Takes how long the body behind the last head is; none if that is not known.
    pub fn has_body(&mut self, bytes: Option<u64>) {
        let Place::Behind(held) = mem::take(&mut self.0) else {
            self.0 = Place::Lost; // a head that was not seen to end: the HTTP layer knows better
            return;
        };
        let Some(bytes) = bytes else {
            self.0 = Place::Lost;
            return;
        };
        self.0 = if bytes == 0 { Place::default() } else { Place::Body(bytes) };
        self.came(&held);
    }

    /// Whether a head has begun and not ended, as far as is known.
    pub fn is_in_head(&self) -> bool {
        matches!(self.0, Place::Head { has_begun: true, .. })
    }
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
    fn behind_a_body_of_unknown_length_nothing_is_claimed() {
        let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET";
        assert!(!follow(chunked, 7, &[None]).is_in_head());
    }
}
