//! The MQTT face: discovery, state, events out; commands in.
