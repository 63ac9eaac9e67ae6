//! `ks-fleet limits`.
