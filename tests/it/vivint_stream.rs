//! A Vivint camera's life over real sockets: its picture and sound by RTSP, whichever way leads there, and what becomes
//! of it when a server misbehaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::{AccountPort, DevicePort, Doorbell, Options, Vendor, VendorError};
use doorstep::media::h26x::{NalKind, nals};
use doorstep::media::{AudioFormat, Frame, FrameKind, FrameStream, VideoCodec};
use doorstep::model::{DeviceId, Found, Link};
use doorstep::secret::Password;
use doorstep::sim::clip::Clip;
use doorstep::sim::rtsp::{self, Fault, ParameterSets, Protection, RtspCommand, RtspEvent, RunningRtsp, Settings};
use doorstep::sim::sound::Sound;
use doorstep::vendor::vivint::camera;
use doorstep::vendor::vivint::devices::Lan;
use doorstep::vendor::vivint::rtsp::Login;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::support::vivint_camera::{Life, VivintCamera};

/// The longest that anything here takes is the time-out of a silent stream.
const PATIENCE: Duration = Duration::from_secs(25);
const PASSWORD: &str = "not-a-real-password";

async fn server(settings: Settings) -> RunningRtsp {
    rtsp::start(settings, CancellationToken::new()).await.unwrap()
}

fn lan(address: SocketAddr, password: &str) -> Lan {
    let SocketAddr::V4(address) = address else { panic!("{address}") };
    Lan {
        host: *address.ip(),
        port: address.port(),
        user: "viewer".into(),
        password: Password::new(password),
        hd: Some("live.sdp".into()),
        sd: None,
    }
}

/// A camera of which only the LAN is known.
fn on_the_lan(server: &RunningRtsp) -> Arc<VivintCamera> {
    let camera = VivintCamera::new();
    camera.change(|camera| camera.lan = Some(lan(server.address, PASSWORD)));
    camera
}

fn through_the_panel(camera: &VivintCamera, server: &RunningRtsp) {
    let url = Url::parse(&server.url("live.sdp")).unwrap();
    camera.change(|camera| camera.panel.hd = Some(url));
    camera.set_panel_login(login(PASSWORD));
}

fn login(password: &str) -> Login {
    Login { user: "viewer".into(), password: Password::new(password) }
}

/// An address at which nothing listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}

async fn next_of(frames: &mut FrameStream, video: bool) -> Arc<Frame> {
    let next = async {
        loop {
            let frame = frames.next().await.expect("the hub is gone");
            if frame.kind.is_video() == video {
                return frame;
            }
        }
    };
    timeout(PATIENCE, next).await.expect("a frame")
}

async fn told(happened: &mut broadcast::Receiver<RtspEvent>, wanted: impl Fn(&RtspEvent) -> bool) -> RtspEvent {
    let told = async {
        loop {
            let event = happened.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    timeout(PATIENCE, told).await.expect("the server tells of it")
}

fn plays(event: &RtspEvent) -> bool {
    matches!(event, RtspEvent::Play { .. })
}

/// Why the life ends.
async fn failure(life: Life) -> String {
    timeout(PATIENCE, life.ended()).await.expect("the life ends").unwrap_err().to_string()
}

/// What the clip has comes to the viewers, bit by bit.
async fn comes_through(settings: Settings) {
    let format = settings.audio.unwrap();
    let server = server(settings).await;
    let camera = on_the_lan(&server);
    let life = Life::begin(&camera);
    let mut happened = server.events();
    let demand = life.media.hold();
    let mut frames = life.media.listen();
    let (clip, sound) = (Clip::h264(), Sound::new(format).unwrap());
    let mut last = Duration::ZERO;
    for n in 0..25 {
        let frame = next_of(&mut frames, true).await;
        let unit = clip.access_unit(n);
        assert_eq!(frame.kind, FrameKind::Video { codec: VideoCodec::H264, keyframe: unit.keyframe }, "picture {n}");
        assert_eq!(nals(&frame.data).collect::<Vec<_>>(), nals(&unit.data).collect::<Vec<_>>(), "picture {n}");
        assert!(n == 0 || frame.pts - last == Clip::INTERVAL, "picture {n} came {:?} after the last", frame.pts - last);
        last = frame.pts;
    }
    let mut frames = life.media.listen();
    let first = next_of(&mut frames, false).await;
    let begun = (0..).find(|&n| sound.packet(n).data == first.data).unwrap();
    for n in 1..25 {
        let frame = next_of(&mut frames, false).await;
        assert_eq!(frame.kind, FrameKind::Audio(format));
        assert_eq!(frame.data, sound.packet(begun + n).data, "packet {n}");
    }
    let state = life.state.borrow().clone();
    assert_eq!((state.link, state.transport), (Link::Streaming, Some("rtsp_lan")));
    drop(demand);
    told(&mut happened, |event| *event == RtspEvent::End { client: 1, why: "the client has ended it" }).await;
    life.until(|state| state.link == Link::Ready && state.transport.is_none()).await;
    life.leave().await.unwrap();
}

#[tokio::test]
async fn picture_and_opus_come_as_they_are_sent() {
    comes_through(Settings::default()).await;
}

#[tokio::test]
async fn picture_and_pcmu_of_an_old_camera_come_as_they_are_sent() {
    comes_through(Settings {
        audio: Some(AudioFormat::PCMU),
        protection: Protection::Legacy,
        parameter_sets: ParameterSets::Described,
        ..Settings::default()
    })
    .await;
}

#[tokio::test]
async fn a_keyframe_has_the_parameter_sets_that_only_the_description_has() {
    let server = server(Settings { parameter_sets: ParameterSets::Described, ..Settings::default() }).await;
    let camera = on_the_lan(&server);
    let life = Life::begin(&camera);
    let _demand = life.media.hold();
    let first = next_of(&mut life.media.listen(), true).await;
    let kinds: Vec<NalKind> = nals(&first.data).map(|nal| NalKind::of(VideoCodec::H264, nal)).collect();
    use NalKind::{KeySlice, PictureParameterSet, SequenceParameterSet};
    assert_eq!(kinds, [SequenceParameterSet, PictureParameterSet, KeySlice]);
}

#[tokio::test]
async fn several_watch_one_session_and_it_is_kept_alive() {
    let server = server(Settings { session: Duration::from_secs(2), ..Settings::default() }).await;
    let camera = on_the_lan(&server);
    let life = Life::begin(&camera);
    let mut happened = server.events();
    let _demands = [life.media.hold(), life.media.hold()];
    told(&mut happened, plays).await;
    for _ in 0..3 {
        let event = told(&mut happened, |_| true).await;
        assert_eq!(event, RtspEvent::KeepAlive { client: 1 });
    }
    assert_eq!(server.clients(), 1);
}

#[tokio::test]
async fn a_camera_with_another_password_is_listed_anew_once() {
    let server = server(Settings::default()).await;
    let camera = on_the_lan(&server);
    server.obey(RtspCommand::Password(Password::new("rotated")));
    camera.on_relisting(lan(server.address, "rotated"));
    let life = Life::begin(&camera);
    let _demand = life.media.hold();
    next_of(&mut life.media.listen(), true).await;
    assert_eq!(camera.seen().relisted, 1);
    life.leave().await.unwrap();
}

#[tokio::test]
async fn a_rotated_panel_login_is_fetched_once_and_only_once() {
    let server = server(Settings::default()).await;
    let camera = VivintCamera::new();
    through_the_panel(&camera, &server);
    server.obey(RtspCommand::Password(Password::new("rotated")));
    camera.on_renewal(login("rotated"));
    let life = Life::begin(&camera);
    let demand = life.media.hold();
    next_of(&mut life.media.listen(), true).await;
    life.until(|state| state.transport == Some("rtsp_panel")).await;
    assert_eq!(camera.seen().renewed, 1);
    drop(demand);
    life.leave().await.unwrap();

    // Again, and this time the cloud does not know either. The relay has the same login.
    server.obey(RtspCommand::Password(Password::new("rotated again")));
    camera.change(|camera| camera.external = camera.panel.clone());
    let mut happened = server.events();
    let life = Life::begin(&camera);
    let _demand = life.media.hold();
    let why = failure(life).await;
    assert_eq!(
        why,
        "No way leads to the camera's picture: through the panel, it refuses the login; through Vivint's relay, it \
         refuses the login. It is being tried again. Restart the camera and the panel if this goes on."
    );
    assert_eq!(camera.seen().renewed, 2);
    let mut refused = 0;
    while let Ok(event) = happened.try_recv() {
        refused += usize::from(matches!(event, RtspEvent::Refused { status: 401, .. }));
    }
    assert_eq!(refused, 2, "the same password is not tried twice at one server");
}

#[tokio::test]
async fn where_the_lan_leads_nowhere_the_panel_does_and_is_remembered() {
    let server = server(Settings::default()).await;
    let camera = VivintCamera::new();
    let dead = nowhere().await;
    camera.change(|camera| camera.lan = Some(lan(dead, PASSWORD)));
    through_the_panel(&camera, &server);
    let life = Life::begin(&camera);
    let demand = life.media.hold();
    life.until(|state| state.transport == Some("rtsp_panel")).await;
    drop(demand);
    life.leave().await.unwrap();

    // It is back, and is not waited for.
    let _back = TcpListener::bind(dead).await.unwrap();
    let life = Life::begin(&camera);
    let _demand = life.media.hold();
    life.until(|state| state.transport == Some("rtsp_panel")).await;
    server.obey(RtspCommand::HangUp);
    let why = failure(life).await;
    assert!(why.starts_with("The camera's picture through the panel broke off: it hung up. "), "{why}");
}

#[tokio::test]
async fn a_camera_that_only_listens_costs_four_seconds_and_then_the_panel_is_asked() {
    let deaf = server(Settings { fault: Some(Fault::Deaf), ..Settings::default() }).await;
    let server = server(Settings::default()).await;
    let camera = on_the_lan(&deaf);
    through_the_panel(&camera, &server);
    let life = Life::begin(&camera);
    let _demand = life.media.hold();
    life.until(|state| state.transport == Some("rtsp_panel")).await;
    life.leave().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_goes_silent_is_over() {
    let server = server(Settings::default()).await;
    let life = Life::begin(&on_the_lan(&server));
    let _demand = life.media.hold();
    life.until(|state| state.link == Link::Streaming).await;
    server.obey(RtspCommand::Fault(Some(Fault::Silent)));
    let why = failure(life).await;
    assert!(why.starts_with("The camera's picture on the LAN broke off: no picture has come for 10 s. "), "{why}");
}

#[tokio::test]
async fn hostile_camera_sends_what_is_no_rtsp() {
    let cases = [
        (Fault::BrokenRtp, "it sends what is no RTSP"),
        (Fault::Garbage, "it sends what is no RTSP"),
        (Fault::HugeFrame, "it sends what is no RTSP"),
        (Fault::HugeReply, "it does not answer"),
        (Fault::BadDescription, "it sends what is no RTSP"),
        (Fault::Deaf, "it does not answer"),
        (Fault::WrongChannel, "no picture has come for 10 s"),
    ];
    let lives = cases.map(async |(fault, expected)| {
        let server = server(Settings { fault: Some(fault), ..Settings::default() }).await;
        let life = Life::begin(&on_the_lan(&server));
        let _demand = life.media.hold();
        let why = failure(life).await;
        let sentence =
            format!("No way leads to the camera's picture: on the LAN, {expected}. It is being tried again.");
        assert!(why.starts_with(&sentence), "{fault}: {why}");
        assert!(!why.contains(PASSWORD) && !why.contains("viewer") && !why.contains("127.0.0.1"), "{why}");
    });
    futures_util::future::join_all(lives).await;
}

#[tokio::test]
async fn a_fault_in_the_midst_of_a_stream_ends_it() {
    for fault in [Fault::BrokenRtp, Fault::Garbage] {
        let server = server(Settings::default()).await;
        let life = Life::begin(&on_the_lan(&server));
        let _demand = life.media.hold();
        life.until(|state| state.link == Link::Streaming).await;
        server.obey(RtspCommand::Fault(Some(fault)));
        let why = failure(life).await;
        assert!(why.starts_with("The camera's picture on the LAN broke off: it sends what is no RTSP. "), "{why}");
    }
}

#[tokio::test]
async fn what_is_left_out_of_a_stream_damages_no_picture() {
    let server = server(Settings { fault: Some(Fault::Skips), ..Settings::default() }).await;
    let life = Life::begin(&on_the_lan(&server));
    let _demand = life.media.hold();
    let mut frames = life.media.listen();
    let clip = Clip::h264();
    let units = |data: &[u8]| nals(data).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let whole: Vec<_> = (0..200).map(|n| units(&clip.access_unit(n).data)).collect();
    let (mut pictures, mut keyframes) = (0, 0);
    while keyframes < 3 {
        let frame = next_of(&mut frames, true).await;
        assert!(whole.contains(&units(&frame.data)), "a picture that the clip does not have");
        pictures += 1;
        keyframes += u32::from(frame.kind.is_keyframe());
    }
    println!("{pictures} pictures, {keyframes} keyframes");
}

/// The camera beneath a doorbell, whose supervision gives it one life after another.
struct OneCamera(Arc<VivintCamera>);

impl Vendor for OneCamera {
    fn name(&self) -> &'static str {
        "vivint"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn run_account(
        self: Arc<Self>,
        _port: AccountPort,
        _stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async { Ok(()) })
    }

    fn run_device(
        self: Arc<Self>,
        port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move { camera::live(&*self.0, port, stop).await })
    }
}

#[tokio::test]
async fn a_doorbell_whose_camera_hangs_up_shows_it_again_by_itself() {
    let server = server(Settings::default()).await;
    let camera = on_the_lan(&server);
    let stop = CancellationToken::new();
    let info = VivintCamera::info(DeviceId::parse("vivint_1_27").unwrap());
    let doorbell = Doorbell::spawn(Arc::new(OneCamera(camera)), info, Options::default(), stop.clone());
    let mut happened = server.events();
    let demand = doorbell.watch();
    let mut frames = demand.hub().listen();
    next_of(&mut frames, true).await;
    server.obey(RtspCommand::HangUp);
    told(&mut happened, |event| matches!(event, RtspEvent::End { client: 1, .. })).await;
    told(&mut happened, plays).await;
    let mut state = doorbell.state();
    let live = state.wait_for(|state| state.link == Link::Streaming && state.last_error.is_none());
    timeout(PATIENCE, live).await.expect("it streams again").unwrap();
    // Before everything is torn down the server hears of it.
    stop.cancel();
    timeout(PATIENCE, doorbell.stopped()).await.expect("the doorbell stops");
    told(&mut happened, |event| *event == RtspEvent::End { client: 2, why: "the client has ended it" }).await;
}

#[tokio::test]
async fn a_password_that_is_wrong_and_stays_wrong_is_tried_once() {
    let server = server(Settings::default()).await;
    let camera = on_the_lan(&server);
    camera.change(|camera| camera.lan.as_mut().unwrap().password = Password::new("wrong"));
    let mut happened = server.events();
    let life = Life::begin(&camera);
    let _demand = life.media.hold();
    let why = failure(life).await;
    assert!(why.contains("on the LAN, it refuses the login. "), "{why}");
    assert_eq!(camera.seen().relisted, 1, "it may have been rotated");
    let refused = RtspEvent::Refused { client: 1, status: 401, why: "a wrong user or password" };
    assert_eq!(happened.try_recv(), Ok(refused));
    assert!(!matches!(happened.try_recv(), Ok(RtspEvent::Refused { .. })));
}
