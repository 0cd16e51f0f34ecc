//! AV blocks: picture and sound out of one stream of bytes (gwell reference §9).
