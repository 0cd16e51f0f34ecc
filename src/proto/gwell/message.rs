//! Messages of the KCP conversations, and their encryption (gwell reference §9).
