//! The TOON parser: accepts exactly the forms of docs/protocol.md, section 3.
//!
//! [`tree`] is the grammar of lines, [`value`] that of the values in them, [`read`] hands the tree to serde, [`error`] says
//! what is wrong: the field, the line, what was received and what was expected.

mod error;
mod read;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use serde::de::DeserializeOwned;

pub(crate) use self::error::Error;

/// Parses a `T` from the text of a document, without a trailing line feed.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let tree = tree::parse(text)?;
    T::deserialize(&tree).map_err(|error| error.at(&tree))
}
