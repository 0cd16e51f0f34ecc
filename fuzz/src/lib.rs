//! What fuzzing feeds with bytes: one function for each thing that reads what others have written. `main.rs` runs them
//! under libFuzzer, and `tests/it/corpus.rs`, which includes this file, with what that has found.

pub mod camera;
pub mod clouds;
pub mod gwell;
pub mod gwell_media;
pub mod house;
pub mod http;
pub mod inputs;
pub mod kvs;
pub mod media;
mod pieces;
pub mod rtc;
pub mod sound;
pub mod tutk;
pub mod vivint;

/// Takes any bytes, and panics if what it tries does not keep its promises.
pub type Target = fn(&[u8]);

/// By name, in alphabetical order; `corpus` has a folder of the same name for each.
pub const TARGETS: &[(&str, Target)] = &[
    ("aws_answer", clouds::aws_answer),
    ("config", inputs::config),
    ("door_command", house::door_command),
    ("gwell_av", gwell_media::av),
    ("gwell_gutes", gwell::gutes),
    ("gwell_kcp", gwell_media::kcp),
    ("gwell_mtp", gwell_media::mtp),
    ("http_account", inputs::http_account),
    ("http_answer", clouds::http_answer),
    ("http_command", inputs::http_command),
    ("http_connection", http::connection),
    ("kvs_ring", kvs::ring),
    ("kvs_signaling", kvs::signaling),
    ("kvs_sigv4", kvs::sigv4),
    ("media_access_units", media::access_units),
    ("media_convert", media::convert),
    ("media_recording", sound::recording),
    ("media_still", media::still),
    ("mqtt_command", inputs::mqtt_command),
    ("rtc_demux", rtc::demux),
    ("rtc_description", camera::description),
    ("rtc_framing", rtc::framing),
    ("rtc_offer", rtc::offer),
    ("rtc_pictures", camera::pictures),
    ("say", house::saying),
    ("state", house::state),
    ("supervisor", clouds::supervisor),
    ("tutk_cc51", tutk::cc51),
    ("tutk_dtls", tutk::dtls),
    ("tutk_frame", tutk::frame),
    ("tutk_iotc", tutk::iotc),
    ("tutk_kcommand", tutk::kcommand),
    ("tutk_login", tutk::login),
    ("tutk_reassembly", tutk::reassembly),
    ("tutk_session", tutk::session),
    ("tutk_talk", tutk::talk),
    ("tutk_transcode", tutk::transcode),
    ("vivint_channel", vivint::channel),
    ("vivint_cloud", clouds::vivint_cloud),
    ("vivint_database_message", vivint::database_message),
    ("vivint_database_session", vivint::database_session),
    ("vivint_login", vivint::login),
    ("vivint_realtime", vivint::realtime),
    ("vivint_signaling", vivint::signaling),
    ("wyze_cloud", clouds::wyze_cloud),
];
