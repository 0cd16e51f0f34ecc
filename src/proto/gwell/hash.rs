//! The hashes of GWell (gwell reference §1.3, §1.4).
