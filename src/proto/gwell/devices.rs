//! Init info and the list of devices (gwell reference §4.3).
