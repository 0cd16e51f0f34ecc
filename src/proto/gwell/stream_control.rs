//! AVSTREAMCTL: asking for a stream, and ending it (gwell reference §8).
