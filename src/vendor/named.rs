//! Which of the addresses that a cloud names are gone to (reliability.md S17, S18).
//!
//! A cloud says where pictures, calls and cameras are, and one that is hostile would have us ask this machine, or what
//! only this machine can reach. What a cloud on this machine names may be here: both are virtual then.

use std::net::IpAddr;

use url::{Host, Url};

use crate::net::fetch::leads_inside;
use crate::rtc::is_this_machine;

/// Whether a file may be fetched from there: from a name whose certificate is checked, never from an address in the
/// house; or from where the owner has `cloud` itself.
pub(super) fn is_file_of(cloud: &Url, file: &Url) -> bool {
    let is_outside = file.scheme() == "https" && is_public_name(file) && file.port().is_none();
    has_no_login(file) && (is_outside || file.origin() == cloud.origin())
}

/// Whether a call may be signalled there.
pub(super) fn is_call_of(cloud: &Url, signalling: &Url) -> bool {
    let is_outside = signalling.scheme() == "wss" && is_public_name(signalling);
    let is_here = matches!(signalling.scheme(), "ws" | "wss") && both_here(cloud, signalling);
    has_no_login(signalling) && (is_outside || is_here)
}

/// Whether a camera, or what leads to it, can be at this address: in the house, or outside of it.
pub(super) fn is_camera_of(cloud: &Url, ip: IpAddr) -> bool {
    is_this_machine(cloud.as_str()) || !leads_inside(ip)
}

/// The same of an address with a name in it.
pub(super) fn leads_to_camera_of(cloud: &Url, url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    // Of a protocol that is none of the web's, an address is not told from a name.
    match host.trim_matches(['[', ']']).parse() {
        Ok(ip) => is_camera_of(cloud, ip),
        Err(_) => is_public(host) || is_this_machine(cloud.as_str()),
    }
}

fn both_here(cloud: &Url, url: &Url) -> bool {
    is_this_machine(cloud.as_str()) && is_this_machine(url.as_str())
}

fn is_public_name(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Domain(name)) if is_public(name))
}

/// A name of several parts: a single word is a machine of the house, or this one, and what ends in a number is an
/// address in one of its many spellings.
fn is_public(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let last = name.rsplit('.').next().unwrap_or_default();
    name.contains('.') && last != "localhost" && !last.starts_with(|c: char| c.is_ascii_digit())
}

fn has_no_login(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOUD: &str = "https://app.wyzecam.com";
    const HERE: &str = "http://127.0.0.1:8123";

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn hostile_cloud_has_pictures_fetched_from_the_house() {
        let may = |file: &str, cloud: &str| is_file_of(&url(cloud), &url(file));
        assert!(may("https://prod-events.s3.amazonaws.com/a.jpg?X-Amz-Signature=1", CLOUD));
        for file in [
            "http://prod-events.s3.amazonaws.com/a.jpg",
            "https://192.168.1.1/a.jpg",
            "https://[fd00::1]/a.jpg",
            "https://2130706433/a.jpg",
            "https://localhost/a.jpg",
            "https://localhost./a.jpg",
            "https://a.localhost/a.jpg",
            "https://router/a.jpg",
            "https://example.com:8443/a.jpg",
            "https://user:password@example.com/a.jpg",
            "file:///etc/passwd",
        ] {
            assert!(!may(file, CLOUD), "{file}");
        }
        assert!(may("http://127.0.0.1:8123/a.jpg", HERE), "a virtual cloud has its own");
        assert!(!may("http://127.0.0.1:8124/a.jpg", HERE));
    }

    #[test]
    fn hostile_cloud_has_calls_signalled_in_the_house_and_at_files() {
        let may = |signalling: &str, cloud: &str| is_call_of(&url(cloud), &url(signalling));
        assert!(may("wss://v-1.kinesisvideo.us-west-2.amazonaws.com/?X-Amz-Date=1&x=a+b", CLOUD));
        assert!(may("wss://wyze-mars-webcsrv.wyzecam.com?token=a.b-c_d", CLOUD));
        for signalling in [
            "ws://v-1.kinesisvideo.us-west-2.amazonaws.com/",
            "ws://localhost:8123/",
            "wss://localhost/",
            "wss://127.0.0.1/",
            "wss://[::1]/",
            "wss://192.168.1.1/",
            "wss://homeassistant/",
            "wss://somebody@example.com/",
            "https://example.com/",
            "file:///etc/passwd",
        ] {
            assert!(!may(signalling, CLOUD), "{signalling}");
        }
        assert!(may("ws://127.0.0.1:9/", HERE) && may("ws://localhost:9/", HERE));
        assert!(!may("ws://192.168.1.1/", HERE));
    }

    #[test]
    fn hostile_cloud_puts_cameras_on_this_machine_and_at_its_metadata() {
        let may = |ip: &str, cloud: &str| is_camera_of(&url(cloud), ip.parse().unwrap());
        for ip in ["192.168.1.20", "10.0.0.9", "203.0.113.7", "fd00::20"] {
            assert!(may(ip, CLOUD), "{ip}");
        }
        for ip in ["127.0.0.1", "127.9.9.9", "169.254.169.254", "172.30.32.2", "0.0.0.0", "255.255.255.255", "::1"] {
            assert!(!may(ip, CLOUD), "{ip}");
        }
        assert!(may("127.0.0.1", HERE));
    }

    #[test]
    fn what_leads_to_a_camera_is_held_against_the_same_rule() {
        let may = |at: &str, cloud: &str| leads_to_camera_of(&url(cloud), &url(at));
        assert!(may("rtsp://192.168.1.10:8554/a", CLOUD) && may("rtsp://relay.example.com/a", CLOUD));
        for at in [
            "rtsp://127.0.0.1/a",
            "rtsp://169.254.169.254/latest",
            "rtsp://localhost:8123/a",
            "rtsp://[::1]/a",
            "rtsp://2130706433/a",
            "rtsp://0x7f.1/a",
            "rtsp://camera/a",
        ] {
            assert!(!may(at, CLOUD), "{at}");
        }
        assert!(may("rtsp://127.0.0.1:8554/a", HERE));
    }
}
