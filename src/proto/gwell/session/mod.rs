//! A session with one camera, from the first P2P server to the farewell (gwell reference §11).

mod interface;

pub use interface::*;
