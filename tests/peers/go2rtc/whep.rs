//! go2rtc's WebRTC source as a WHEP client of our service.

use libtest_mimic::Trial;

use super::Go2rtc;
use crate::doorstep::Demo;
use crate::ffmpeg::{self, LONG_ENOUGH};
use crate::promise;
use crate::wait::until;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("go2rtc_shows_an_old_doorbell_through_whep", || shows("tutk-old")),
        promise("go2rtc_shows_a_new_doorbell_through_whep", || shows("tutk-new")),
        promise("go2rtc_shows_a_gwell_doorbell_through_whep", || shows("gwell")),
    ]
}

async fn shows(kind: &'static str) {
    let demo = Demo::start(kind).await;
    let go2rtc = Go2rtc::start(&[("door", &format!("webrtc:{}", demo.whep_url()))]).await;
    ffmpeg::watch(&go2rtc.rtsp_url("door"), LONG_ENOUGH).await.assert_alive();
    // It sends no DELETE: the connection's own end must do.
    until("end of the last viewer's session", async || demo.doorbell().await["viewers"] == 0).await;
    demo.leave().await;
}
