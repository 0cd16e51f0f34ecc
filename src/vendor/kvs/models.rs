//! The doorbells that are known to be built on Kinesis Video Streams. A channel does not say which of them it is: this
//! is for people (kvs reference §5 to §7).

use std::fmt::Write;

/// What every channel is called: AWS knows no models.
pub const MODEL: &str = "KVS channel";

/// One kind of master.
struct Master {
    code: &'static str,
    name: &'static str,
    talk: &'static str,
    ring: &'static str,
    lock: &'static str,
}

const MASTERS: [Master; 3] = [
    Master {
        code: "Raspberry Pi",
        name: "with AWS's WebRTC reference for Linux (GStreamer)",
        talk: "expected",
        ring: "AWS IoT, wired button",
        lock: "no (it echoes)",
    },
    Master {
        code: "AmebaPro2",
        name: "with the doorbell's FreeRTOS firmware",
        talk: "expected",
        ring: "AWS IoT, wired button",
        lock: "expected, its own opener",
    },
    Master {
        code: "Python",
        name: "with AWS's WebRTC sample (aiortc)",
        talk: "experimental",
        ring: "wired button",
        lock: "–",
    },
];

/// The rows of the README's table, in Markdown.
pub fn support_rows() -> String {
    let mut rows = String::new();
    for Master { code, name, talk, ring, lock } in MASTERS {
        let _infallible =
            writeln!(rows, "| {code} | AWS KVS {name} | WebRTC, AWS | expected | {talk} | {ring} | {lock} |");
    }
    rows
}
