//! The one reader of TOON text: exactly the forms of docs/protocol.md, section 3, and nothing else.
//!
//! [`tree`] is the grammar of lines, [`value`] that of what stands in them, [`read`] hands the tree to serde, [`error`] says
//! what is wrong: the field, the line, what came and what was expected.

mod error;
mod read;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use serde::de::DeserializeOwned;

pub(crate) use self::error::Error;

/// Reads a `T` from the text of a document, without a line feed at its end.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let tree = tree::parse(text)?;
    T::deserialize(&tree).map_err(|error| error.at(&tree))
}
