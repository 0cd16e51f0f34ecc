//! Home Assistant's Supervisor, as an app asks it: the broker's login, our own ports, the host's addresses, and the
//! companion integration's discovery (docs/interfaces.md §2).
