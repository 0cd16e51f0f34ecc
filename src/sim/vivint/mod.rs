//! Vivint's cloud, database and devices, as far as a client can tell (the Vivint reference, whose sections the comments
//! name).
//!
//! Written from the reference and not from our client. What the reference does not know is said where it is made up.

pub mod doorbell;
pub mod tree;
