//! The session control messages at the head of MTP payloads (gwell reference §5).
