//! The two drivers of one fleet: [`load`] over sockets in real time, [`rehearse`] in process in virtual time. What they share is in
//! [`crate::setup`].

pub mod load;
pub mod rehearse;
pub mod target;
