//! One of the targets under libFuzzer: the one that `FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use doorstep_fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    if name == "media_recording" {
        // Where the decoder of Vorbis panics, our code goes on; libFuzzer's own hook would end it there. What nobody
        // catches still ends it.
        std::panic::set_hook(Box::new(|_| ()));
    }
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.unwrap_or_else(|| panic!("FUZZ_TARGET names no target: `{name}`")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
