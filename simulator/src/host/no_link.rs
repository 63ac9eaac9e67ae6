//! How files are opened in folders where other users can write.

use rustix::fs::OFlags;

/// For opening a file: a symbolic link is an error, and so is a pipe without a reader.
pub const NO_LINK: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
