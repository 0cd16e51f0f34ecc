//! GUTES, the frames between a terminal and a P2P server (gwell reference §2).
