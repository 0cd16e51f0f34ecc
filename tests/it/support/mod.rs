//! What several tests need.


