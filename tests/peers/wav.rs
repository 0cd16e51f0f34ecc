//! A web server with one sound: a steady 1 kHz tone.

use std::f64::consts::TAU;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) const TONE_HZ: f64 = 1_000.0;
const RATE_HZ: u32 = 8_000;
const LENGTH: Duration = Duration::from_secs(4);
/// How much sound goes out at a time.
const PIECE: Duration = Duration::from_millis(40);

/// Serves the tone to whoever asks, and gives its address.
///
/// It leaves at the pace at which it sounds: go2rtc passes a file on as fast as it arrives.
pub(crate) async fn serve() -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let tone = || async { ([(CONTENT_TYPE, "audio/wav")], paced(wave_file())) };
    tokio::spawn(axum::serve(listener, Router::new().route("/tone.wav", get(tone))).into_future());
    format!("http://{address}/tone.wav")
}

fn paced(file: Bytes) -> Body {
    let mut clock = interval(PIECE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let piece = (f64::from(RATE_HZ) * PIECE.as_secs_f64()) as usize;
    Body::from_stream(stream::unfold((file, clock), move |(mut rest, mut clock)| async move {
        if rest.is_empty() {
            return None;
        }
        clock.tick().await;
        let sent = rest.split_to(piece.min(rest.len()));
        Some((Ok::<_, std::convert::Infallible>(sent), (rest, clock)))
    }))
}

/// RIFF/WAVE with G.711 µ-law (format tag 7), one channel, 8 kHz.
fn wave_file() -> Bytes {
    let step = TAU * TONE_HZ / f64::from(RATE_HZ);
    let samples = RATE_HZ * LENGTH.as_secs() as u32;
    let sound: Vec<u8> = (0..samples).map(|n| mu_law((12_000.0 * (step * f64::from(n)).sin()) as i16)).collect();
    let mut file = Vec::with_capacity(46 + sound.len());
    file.extend(b"RIFF");
    file.extend((38 + samples).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(18_u32.to_le_bytes());
    file.extend([7, 0, 1, 0]);
    file.extend(RATE_HZ.to_le_bytes());
    file.extend(RATE_HZ.to_le_bytes());
    file.extend([1, 0, 8, 0, 0, 0]);
    file.extend(b"data");
    file.extend(samples.to_le_bytes());
    file.extend(sound);
    file.into()
}

/// G.711: sign, three bits of exponent, four of mantissa, all inverted.
fn mu_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let biased = sample.unsigned_abs().min(32_635) + 132;
    let exponent = biased.ilog2() - 7;
    let mantissa = (biased >> (exponent + 3)) & 0x0F;
    !(sign | (exponent as u8) << 4 | mantissa as u8)
}
