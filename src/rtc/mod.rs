//! WebRTC: the only place that names `rtc`. Every viewer sits on one UDP port.
