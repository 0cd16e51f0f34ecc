//! Media frames through the P2P server (gwell reference §4.10).
