//! The HTTP face: page, API, WHEP.
