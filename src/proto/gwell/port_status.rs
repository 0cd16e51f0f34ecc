//! Network detection, port status and the heartbeat (gwell reference §4.4, §4.8, §4.9).
