//! Finding a P2P server: the list and the detection (gwell reference §3.2).
