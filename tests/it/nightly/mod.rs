//! What takes minutes; run by `./gate --profile nightly`.

mod mqtt_faults;
