use super::*;

/// Picture `n`, of `len` bytes, with start codes and nothing that looks like a head.
fn picture(n: u64, len: usize) -> Vec<u8> {
    let bytes = (0..len as u64).map(|at| ((at * 7 + n * 13) % 251) as u8);
    [0, 0, 0, 1, 0x65].into_iter().chain(bytes).take(len).collect()
}

/// What cameras do with the count in the head and with messages, which the reference leaves open.
#[derive(Debug, Clone, Copy)]
enum Camera {
    Counts,
    CountsNothing,
    CountsWrong,
}

/// The messages of a picture.
fn video(camera: Camera, n: u64, data: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Muxer.video(n * 66_000, data);
    let count: Option<u32> = match camera {
        Camera::Counts => None,
        Camera::CountsNothing => Some(0),
        Camera::CountsWrong => Some(17),
    };
    if let Some(count) = count {
        messages[0][8..12].copy_from_slice(&count.to_le_bytes());
    }
    messages
}

fn units(demuxer: &mut Demuxer) -> Vec<Unit> {
    demuxer.collect()
}

fn feed(demuxer: &mut Demuxer, messages: &[Vec<u8>]) -> Vec<Unit> {
    messages.iter().for_each(|message| demuxer.push(message));
    units(demuxer)
}

fn pictures(units: &[Unit]) -> Vec<(u64, &[u8], bool)> {
    let pictures = units.iter().filter(|unit| unit.media == Media::Video);
    pictures.map(|unit| (unit.pts_us, &unit.data[..], unit.damaged || unit.gap)).collect()
}

/// Lengths around everything that has a length.
fn lengths() -> impl Iterator<Item = usize> {
    (1..60).chain(940..1_080).chain(1_940..2_020).chain([5_000, 60_000])
}

#[test]
fn pictures_come_out_to_the_byte_whatever_their_length() {
    for camera in [Camera::Counts, Camera::CountsNothing, Camera::CountsWrong] {
        let mut demuxer = Demuxer::default();
        let sent: Vec<_> = (0..).zip(lengths()).map(|(n, len)| (n * 66_000, picture(n, len))).collect();
        let mut out = Vec::new();
        for (n, (_, data)) in (0..).zip(&sent) {
            out.extend(feed(&mut demuxer, &video(camera, n, data)));
        }
        demuxer.flush();
        out.extend(units(&mut demuxer));
        let expected: Vec<_> = sent.iter().map(|(pts, data)| (*pts, &data[..], false)).collect();
        assert!(pictures(&out) == expected, "{camera:?}");
    }
}

#[test]
fn sound_stands_anywhere_between_and_inside_pictures() {
    for camera in [Camera::Counts, Camera::CountsNothing] {
        let mut demuxer = Demuxer::default();
        let mut out = Vec::new();
        let mut sound_sent = Vec::new();
        for n in 0..40 {
            let data = picture(n, 700 + 97 * n as usize);
            let packets = [picture(100 + n, 320), picture(200 + n, 320)];
            let mut messages = video(camera, n, &data);
            // In front of the head in its message, as seen on a Doorbell Pro, and between the picture's messages.
            let front: Vec<u8> = Muxer.audio(n * 20_000, &packets[0]).concat();
            messages[0].splice(0..0, front);
            messages.insert(1, Muxer.audio(n * 20_000 + 10_000, &packets[1]).concat());
            let expected = packets.into_iter().zip([0, 10_000]).map(|(packet, later)| (n * 20_000 + later, packet));
            sound_sent.extend(expected);
            out.extend(feed(&mut demuxer, &messages));
        }
        demuxer.flush();
        out.extend(units(&mut demuxer));
        let sound = out.iter().filter(|unit| unit.media == Media::Audio);
        let sound: Vec<_> = sound.map(|unit| (unit.pts_us, unit.data.to_vec())).collect();
        assert!(sound == sound_sent, "{camera:?}");
        for ((_, data, broken), n) in pictures(&out).into_iter().zip(0..) {
            assert!(data == picture(n, 700 + 97 * n as usize) && !broken, "{camera:?}, picture {n}");
        }
        assert_eq!(pictures(&out).len(), 40, "{camera:?}");
    }
}

#[test]
fn several_packets_of_one_block_follow_each_other_in_time() {
    let mut block = head(3, 0, 0, 1_000_000);
    for len in [320_u16, 160, 320] {
        block.u16_le(len);
    }
    block.bytes(&[7; 800]);
    let mut demuxer = Demuxer::default();
    demuxer.push(&block);
    let times: Vec<_> = units(&mut demuxer).iter().map(|unit| (unit.pts_us, unit.data.len())).collect();
    assert_eq!(times, [(1_000_000, 320), (1_020_000, 160), (1_030_000, 320)]);
}

#[test]
fn a_picture_waits_for_the_next_one_only_until_the_camera_is_known() {
    for camera in [Camera::Counts, Camera::CountsNothing] {
        let mut demuxer = Demuxer::default();
        let out_at_once = |n: u64, demuxer: &mut Demuxer| {
            let out = feed(demuxer, &video(camera, n, &picture(n, 3_000)));
            pictures(&out).iter().any(|(pts, ..)| *pts == n * 66_000)
        };
        let waits: Vec<bool> = (0..10).map(|n| !out_at_once(n, &mut demuxer)).collect();
        assert!(waits[0], "{camera:?}: nothing can be known of the first picture");
        assert!(waits[5..].iter().all(|waits| !waits), "{camera:?}: {waits:?}");
    }
}

#[test]
fn a_head_is_read_wherever_a_message_cuts_it() {
    let data = picture(1, 3_000);
    let blocks: Vec<u8> = [
        Muxer.audio(5, &picture(2, 320)),
        Muxer.video(6, &data),
        Muxer.audio(7, &picture(3, 320)),
        Muxer.video(8, &data),
    ]
    .concat()
    .concat();
    for cut in 1..blocks.len() {
        let mut demuxer = Demuxer::default();
        let (first, second) = blocks.split_at(cut);
        let mut out = feed(&mut demuxer, &[first.to_vec(), second.to_vec()]);
        demuxer.flush();
        out.extend(units(&mut demuxer));
        assert!(pictures(&out) == [(6, &data[..], false), (8, &data[..], false)], "cut at {cut}");
        assert_eq!(out.len(), 4, "cut at {cut}");
    }
}

#[test]
fn the_magic_number_inside_of_video_is_video() {
    for camera in [Camera::Counts, Camera::CountsNothing] {
        let mut demuxer = Demuxer::default();
        let mut out = Vec::new();
        let mut sent = Vec::new();
        for n in 0..30 {
            let mut data = picture(n, 2_500);
            // At the ends of messages, too.
            for at in [100, 300 + n as usize, 970 + n as usize, 2_496] {
                data[at..at + 4].copy_from_slice(&MAGIC);
            }
            let impossible = [0xFF, 0xFF, 0xFF, 0x88, 0, 0, 3, 0];
            data[200..208].copy_from_slice(&impossible);
            data[228..230].copy_from_slice(&[0xFF, 0xFF]);
            out.extend(feed(&mut demuxer, &video(camera, n, &data)));
            sent.push(data);
        }
        demuxer.flush();
        out.extend(units(&mut demuxer));
        assert_eq!(pictures(&out).len(), sent.len(), "{camera:?}");
        for ((_, data, broken), sent) in pictures(&out).into_iter().zip(&sent) {
            assert!(data == sent && !broken, "{camera:?}");
        }
    }
}

#[test]
fn the_empty_block_of_the_beginning_is_skipped() {
    let mut demuxer = Demuxer::default();
    let mut messages = Muxer.opening();
    messages.extend(Muxer.video(1, &picture(1, 100)));
    messages.extend(Muxer.opening());
    let mut out = feed(&mut demuxer, &messages);
    demuxer.flush();
    out.extend(units(&mut demuxer));
    assert_eq!(pictures(&out), [(1, &picture(1, 100)[..], false)]);
}

#[test]
fn a_lost_message_damages_one_picture_whichever_it_is() {
    for camera in [Camera::Counts, Camera::CountsNothing] {
        // Once the camera is known, and before.
        for (broken_n, most) in [(7_u64, 1), (2, 2)] {
            for lost_at in 0..4 {
                let mut demuxer = Demuxer::default();
                let mut out = Vec::new();
                for n in 0..15 {
                    let mut messages = video(camera, n, &picture(n, 3_500));
                    if n == broken_n {
                        let behind = messages.split_off(lost_at);
                        out.extend(feed(&mut demuxer, &messages));
                        demuxer.lost();
                        messages = behind[1..].to_vec();
                    }
                    out.extend(feed(&mut demuxer, &messages));
                }
                demuxer.flush();
                out.extend(units(&mut demuxer));
                let whole = pictures(&out).into_iter().filter(|(pts, data, _)| *data == picture(pts / 66_000, 3_500));
                let harmed = 15 - whole.count();
                assert!(
                    harmed <= most,
                    "{camera:?}: {harmed} pictures fell to message {lost_at} of picture {broken_n}"
                );
                let told = out.iter().filter(|unit| unit.damaged || unit.gap).count();
                assert!(told >= 1, "{camera:?}: nobody was told of message {lost_at}");
            }
        }
    }
}

#[test]
fn a_loss_that_nobody_tells_shows_in_the_count() {
    let mut demuxer = Demuxer::default();
    let mut out = Vec::new();
    for n in 0..12 {
        let mut messages = video(Camera::Counts, n, &picture(n, 3_500));
        if n == 8 {
            messages.remove(2);
        }
        out.extend(feed(&mut demuxer, &messages));
    }
    demuxer.flush();
    out.extend(units(&mut demuxer));
    let damaged: Vec<_> = out.iter().filter(|unit| unit.damaged).map(|unit| unit.pts_us / 66_000).collect();
    assert_eq!(damaged, [8]);
    let whole = pictures(&out).into_iter().filter(|(pts, data, _)| *data == picture(pts / 66_000, 3_500)).count();
    assert_eq!(whole, 11);
}

#[test]
fn a_camera_that_changes_its_habits_is_believed_no_longer() {
    let mut demuxer = Demuxer::default();
    let mut out = Vec::new();
    for n in 0..40 {
        // At first the count is right, then it is of the first message only.
        let data = picture(n, 3_000);
        let mut messages = Muxer.video(n * 66_000, &data);
        if n >= 10 {
            messages[0][8..12].copy_from_slice(&976_u32.to_le_bytes());
        }
        out.extend(feed(&mut demuxer, &messages));
    }
    demuxer.flush();
    out.extend(units(&mut demuxer));
    let cut: Vec<_> = pictures(&out).into_iter().filter(|(_, data, _)| data.len() != 3_000).map(|cut| cut.0).collect();
    assert_eq!(cut, [10 * 66_000], "one picture was cut, and taught better");
    assert!(out.iter().any(|unit| unit.pts_us == 11 * 66_000 && unit.gap), "the cut was not told");
}

#[test]
fn video_without_a_head_is_no_picture() {
    let mut demuxer = Demuxer::default();
    assert!(feed(&mut demuxer, &[picture(1, 500), picture(2, 500)]).is_empty());
    let mut out = feed(&mut demuxer, &Muxer.video(9, &picture(3, 500)));
    demuxer.flush();
    out.extend(units(&mut demuxer));
    assert_eq!(pictures(&out), [(9, &picture(3, 500)[..], true)]);
}

#[test]
fn an_endless_picture_is_dropped_at_four_mebibytes() {
    let mut demuxer = Demuxer::default();
    demuxer.push(&head(0, u32::MAX, 1, 0));
    for _ in 0..10_000 {
        demuxer.push(&[0x55; MAX_PAYLOAD]);
        assert!(demuxer.picture.as_ref().is_none_or(|picture| picture.data.len() <= MAX_PICTURE));
        assert!(demuxer.cut.is_empty() && demuxer.ready.is_empty());
    }
    assert_eq!(demuxer.overlong(), 1);
    let mut out = feed(&mut demuxer, &Muxer.video(2, &picture(1, 500)));
    demuxer.flush();
    out.extend(units(&mut demuxer));
    assert_eq!(pictures(&out), [(2, &picture(1, 500)[..], true)]);
}

#[test]
fn audio_packets_that_never_come_are_not_waited_for_without_end() {
    let mut block = head(16, 0, 0, 0);
    for _ in 0..16 {
        block.u16_le(2_048);
    }
    let mut demuxer = Demuxer::default();
    demuxer.push(&block);
    for _ in 0..100 {
        demuxer.push(&[0x55; MAX_PAYLOAD]);
        assert!(demuxer.cut.len() <= 28 + 32 + 16 * 2_048 + MAX_PAYLOAD);
    }
    assert_eq!(units(&mut demuxer).len(), 16);
}

#[test]
fn a_message_of_a_camera_is_never_longer_than_cameras_make_them() {
    for len in lengths() {
        assert!(Muxer.video(0, &picture(0, len)).iter().all(|message| (1..=MAX_PAYLOAD).contains(&message.len())));
    }
    assert_eq!(Muxer.audio(0, &[0; 320]).concat().len(), 350);
}
