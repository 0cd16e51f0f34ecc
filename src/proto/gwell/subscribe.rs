//! Subscriptions, by id and by token (gwell reference §4.5).
