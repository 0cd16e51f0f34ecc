//! What viewers send before they are known: it must not panic.

use doorstep::rtc::Offer;
use doorstep::rtc::demux::{self, Kind, Stun};
use doorstep::rtc::framing::{framed, read_frame};
use futures_util::FutureExt;

pub fn offer(data: &[u8]) {
    let _ = Offer::parse(&String::from_utf8_lossy(data));
}

pub fn demux(data: &[u8]) {
    if demux::kind(data) != Some(Kind::Stun) {
        return;
    }
    let Some(stun) = Stun::parse(data) else { return };
    let _ = (stun.is_binding_success(), stun.local_ufrag(), stun.is_signed_with("VOkJxbRl1RmTxUk/WvJxBt"));
    assert!(stun.is_binding_request() || !stun.nominates(), "only a request nominates");
}

pub fn framing(mut data: &[u8]) {
    while let Some(Ok(packet)) = read_frame(&mut data).now_or_never() {
        let frame = framed(&packet).expect("what was read can be written");
        assert_eq!(read_frame(&mut &frame[..]).now_or_never().and_then(Result::ok), Some(packet));
    }
}
