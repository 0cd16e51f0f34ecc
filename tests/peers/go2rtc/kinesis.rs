//! go2rtc's Kinesis source as the viewer of our virtual doorbell at our virtual AWS, at addresses that we presign.

use doorstep::aws::Role;
use doorstep::sim::kvs_doorbell::Profile;
use libtest_mimic::Trial;

use super::Go2rtc;
use crate::ffmpeg::{self, LONG_ENOUGH};
use crate::kvs::{self, House};
use crate::promise;

pub(crate) fn tests() -> Vec<Trial> {
    vec![promise("go2rtc_shows_a_doorbell_at_a_virtual_aws", shows)]
}

async fn shows() {
    let house = House::start(kvs::settings()).await;
    let _doorbell = house.doorbell(Profile::Ameba).await;
    let aws = house.ourselves();
    let channel = aws.describe(house.channel()).await.unwrap().channel;
    let signalling = aws.signalling(&channel, Role::Viewer, "go2rtc").await.unwrap();
    // It closes its line to the service as soon as media flow, and the call goes on.
    let source = format!("webrtc:{}#format=kinesis#client_id=go2rtc#ice_servers=[]", signalling.url.expose());
    let go2rtc = Go2rtc::start_trusting(house.authority(), &[("door", &source)]).await;
    ffmpeg::watch(&go2rtc.rtsp_url("door"), LONG_ENOUGH).await.assert_alive_from_a_keyframe_on();
}
