//! The HTTP face: page, API, WHEP.

pub mod whep;
