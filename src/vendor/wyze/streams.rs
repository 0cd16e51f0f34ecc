//! Asking Wyze's cloud where to call a WebRTC camera (wyze-cloud reference §7, "get-streams").

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::Url;

use super::VENDOR;
use super::cloud::{App, Cloud, Host};
use super::webrtc::Streams;
use crate::doorbell::VendorError;
use crate::doorbell::vendor::{BoxFuture, Retry};
use crate::rtc::kvs_call::{IceServer, Signalling};
use crate::secret::{Password, SignedUrl};
use crate::vendor::named;

const PATH: &str = "/app/v4/camera/get-streams";

/// Longer is no address.
const LONGEST_URL: usize = 16 << 10;
/// Of relays and such, and of the addresses of each.
const MOST_SERVERS: usize = 16;
const LONGEST_SERVER: usize = 512;

/// One camera of an account.
pub struct CloudStreams {
    pub cloud: Cloud,
    /// As the account lists them.
    pub mac: String,
    pub model: String,
}

impl Streams for CloudStreams {
    fn ask(&self) -> BoxFuture<'_, Result<Signalling, VendorError>> {
        Box::pin(async move {
            let body = request(&self.mac, &self.model);
            let data = self.cloud.signed(App::Web, Host::Api, PATH, body).await?;
            Ok(parse(self.cloud.address(), &data, client_id()?)?)
        })
    }
}

/// Another for every call: the service takes two of one name for one, and lets go of the older.
fn client_id() -> Result<String, VendorError> {
    let random = getrandom::u64().map_err(|error| VendorError {
        vendor: VENDOR,
        what: format!("This machine has no randomness: {error}. It is being tried again."),
        retry: Retry::Backoff,
        source: Some(error.into()),
    })?;
    Ok(format!("viewer-{random:016x}"))
}

/// Why a camera cannot be called, in whole sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum StreamError {
    #[error("Wyze says that the camera is offline. It is being tried again. Check its power and its Wi-Fi.")]
    Offline,
    #[error("The camera is switched off. Switch it on in the Wyze app.")]
    SwitchedOff,
    /// A model without WebRTC, or an answer of another form.
    #[error("Wyze has no WebRTC stream of this camera. It is being tried again.")]
    None,
}

impl From<StreamError> for VendorError {
    fn from(error: StreamError) -> Self {
        Self { vendor: VENDOR, what: error.to_string(), retry: Retry::Backoff, source: None }
    }
}

/// The body that asks for one camera, without the nonce that is signed with it.
fn request(mac: &str, model: &str) -> Value {
    let parameters = json!({"use_trickle": true});
    json!({"device_list": [
        {"device_id": mac, "device_model": model, "provider": "webrtc", "parameters": parameters},
    ]})
}

/// From the `data` of the answer: a list with one entry, `{"property":{"iot-device::iot-state":1,
/// "iot-device::iot-power":1},"params":{"signaling_url","ice_servers":[{"url","username","credential"}]}}`.
///
/// Servers that cannot be read are left out, and states that are not told count as good: the call itself will show.
fn parse(cloud: &Url, data: &Value, client_id: String) -> Result<Signalling, StreamError> {
    let stream = data.get(0).unwrap_or(data);
    let property = &stream["property"];
    if is_off(&property["iot-device::iot-state"]) {
        return Err(StreamError::Offline);
    }
    if is_off(&property["iot-device::iot-power"]) {
        return Err(StreamError::SwitchedOff);
    }
    let params = &stream["params"];
    let url = params["signaling_url"].as_str().and_then(|url| signalling_url(cloud, url)).ok_or(StreamError::None)?;
    let servers = params["ice_servers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ice_servers = servers.iter().filter_map(ice_server).take(MOST_SERVERS).collect();
    Ok(Signalling { url: SignedUrl::new(url), client_id, ice_servers, authority: None })
}

/// Whether it says so, in whichever form: numbers, as text or not, and truth values have been seen in Wyze's cloud.
fn is_off(state: &Value) -> bool {
    match state {
        Value::Number(number) => number.as_i64() != Some(1),
        Value::String(text) => text != "1",
        Value::Bool(on) => !on,
        _ => false,
    }
}

/// The address as it is to go out. Some cameras' comes encoded once too often (LD_CFP); it is signed, so nothing else
/// of it may change, and a `+` is no space.
fn signalling_url(cloud: &Url, url: &str) -> Option<String> {
    if url.len() > LONGEST_URL {
        return None;
    }
    let url = match url.contains("%25") {
        true => percent_decode_str(url).decode_utf8().ok()?.into_owned(),
        false => url.to_owned(),
    };
    Url::parse(&url).is_ok_and(|parsed| named::is_call_of(cloud, &parsed)).then_some(url)
}

fn ice_server(server: &Value) -> Option<IceServer> {
    let url = server.get("url").or_else(|| server.get("urls"))?;
    let urls: Vec<String> = match url {
        Value::String(url) => vec![url.clone()],
        Value::Array(urls) => urls.iter().filter_map(Value::as_str).take(MOST_SERVERS).map(str::to_owned).collect(),
        _ => vec![],
    };
    let is_ice = |url: &String| {
        url.len() <= LONGEST_SERVER && ["stun:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme))
    };
    let urls: Vec<String> = urls.into_iter().filter(is_ice).collect();
    let text = |name: &str| server[name].as_str().unwrap_or_default().to_owned();
    let (username, credential) = (text("username"), Password::new(text("credential")));
    (!urls.is_empty()).then_some(IceServer { urls, username, credential })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESIGNED: &str =
        "wss://v-1.kinesisvideo.us-west-2.amazonaws.com/?X-Amz-Credential=AKIA%2F20260101&X-Amz-Date=1&x=a+b";

    fn answer(url: &str) -> Value {
        json!([{
            "property": {"iot-device::iot-state": 1, "iot-device::iot-power": 1},
            "params": {
                "signaling_url": url,
                "ice_servers": [
                    {"url": "turn:t.example:443?transport=udp", "username": "u", "credential": "c"},
                    {"urls": ["stun:a.example:443", "stun:b.example:443"], "username": null},
                    {"nothing": 1},
                ],
                "auth_token": "",
            },
        }])
    }

    fn cloud() -> Url {
        Url::parse("https://app.wyzecam.com").unwrap()
    }

    fn url_of(data: &Value) -> Result<String, StreamError> {
        parse(&cloud(), data, "viewer".to_owned()).map(|signalling| signalling.url.expose().to_owned())
    }

    #[test]
    fn one_camera_is_asked_for() {
        let body = request("GW_BE1_7C78B2000001", "GW_BE1");
        let expected = r#"{"device_list":[{"device_id":"GW_BE1_7C78B2000001","device_model":"GW_BE1","parameters":{"use_trickle":true},"provider":"webrtc"}]}"#;
        assert_eq!(body.to_string(), expected);
    }

    #[test]
    fn an_address_goes_out_as_it_came_unless_it_was_encoded_twice() {
        assert_eq!(url_of(&answer(PRESIGNED)).as_deref(), Ok(PRESIGNED));
        let twice = PRESIGNED.replace('%', "%25");
        assert_eq!(url_of(&answer(&twice)).as_deref(), Ok(PRESIGNED));
        let mars = "wss://wyze-mars-webcsrv.wyzecam.com?token=a.b-c_d";
        assert_eq!(url_of(&answer(mars)).as_deref(), Ok(mars));
    }

    #[test]
    fn servers_are_taken_in_both_spellings() {
        let servers = parse(&cloud(), &answer(PRESIGNED), "viewer".to_owned()).unwrap().ice_servers;
        let urls: Vec<Vec<String>> = servers.iter().map(|server| server.urls.clone()).collect();
        assert_eq!(urls, [vec!["turn:t.example:443?transport=udp"], vec!["stun:a.example:443", "stun:b.example:443"]]);
        assert_eq!((servers[0].username.as_str(), servers[0].credential.expose()), ("u", "c"));
    }

    #[test]
    fn hostile_cloud_gives_ten_thousand_ice_servers() {
        let mut many = answer(PRESIGNED);
        let urls: Vec<String> = (0..10_000).map(|n| format!("turn:t{n}.example:443")).collect();
        let long = format!("turn:{}.example:443", "t".repeat(1 << 20));
        let server = |urls: &[String]| json!({"urls": urls, "username": "u", "credential": "c"});
        let odd = json!({"urls": ["file:///etc/passwd", "http://169.254.169.254/", long]});
        let servers = [vec![odd; 10], vec![server(&urls)], vec![server(&urls[..1]); 10_000]].concat();
        many[0]["params"]["ice_servers"] = servers.into();
        let taken = parse(&cloud(), &many, "viewer".to_owned()).unwrap().ice_servers;
        assert_eq!((taken.len(), taken[0].urls.len()), (MOST_SERVERS, MOST_SERVERS));
        assert!(taken.iter().flat_map(|server| &server.urls).all(|url| url.starts_with("turn:t")));
    }

    #[test]
    fn a_camera_that_is_away_or_off_is_told_apart() {
        let with = |state: Value, power: Value| {
            let mut answer = answer(PRESIGNED);
            answer[0]["property"] = json!({"iot-device::iot-state": state, "iot-device::iot-power": power});
            url_of(&answer).map(drop)
        };
        assert_eq!(with(json!(0), json!(1)), Err(StreamError::Offline));
        assert_eq!(with(json!(2), json!(0)), Err(StreamError::Offline));
        assert_eq!(with(json!(1), json!(0)), Err(StreamError::SwitchedOff));
        assert_eq!(with(json!("1"), json!(false)), Err(StreamError::SwitchedOff));
        assert_eq!(with(json!(true), json!("1")), Ok(()));
        assert_eq!(with(Value::Null, json!({})), Ok(()));
    }

    #[test]
    fn an_answer_of_another_form_is_no_stream() {
        for data in [
            json!(null),
            json!([]),
            json!([[]]),
            json!("text"),
            json!({"params": {"signaling_url": 1}}),
            answer(""),
            answer("https://example.com/"),
            answer("wss://localhost/"),
            answer("ws://192.168.1.1:8123/"),
            answer("file:///etc/passwd"),
            answer(&format!("wss://{}", "x".repeat(20_000))),
            answer("wss://x/?%25&%FF"),
        ] {
            assert_eq!(url_of(&data), Err(StreamError::None), "{data}");
        }
        let mut without_list = answer(PRESIGNED)[0].clone();
        without_list["params"]["ice_servers"] = json!("none");
        assert_eq!(url_of(&without_list).as_deref(), Ok(PRESIGNED), "one entry without its list");
    }
}
