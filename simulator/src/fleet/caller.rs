//! Who calls the server, so that each has an address.

/// A client of the server, for choosing an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Operator,
    /// A device by number.
    Device(u32),
    /// The devices of a site, by its number, where they share an address.
    Site(u32),
    /// An adversary at its address of this number.
    Adversary(u32),
}
