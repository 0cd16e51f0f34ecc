//! An AWS that a test scripts: it answers what the test says and remembers what it was asked, signatures checked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use doorstep::aws::{Aws, Channel, Settings};
use doorstep::clock;
use doorstep::config::{AwsKeys, KvsEndpoints, KvsLogin};
use doorstep::proto::kvs::sigv4::{self, Claim};
use doorstep::secret::{Password, SignedUrl};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

pub(crate) const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub(crate) const TEMPORARY_KEY: &str = "ASIAIOSFODNN7EXAMPLE";
pub(crate) const TEMPORARY_SECRET: &str = "temporary/secret";
pub(crate) const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE//wEaCXVz+abc/def=ghi==";
pub(crate) const ARN: &str = "arn:aws:kinesisvideo:us-east-1:123456789012:channel/doorbell-channel/1700000000000";
pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/doorbell-viewer";

/// A request as it came.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) async fn of(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.iter().map(header).collect(),
            body: String::from_utf8(axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// What it claims, which must be so.
    pub(crate) fn signer(&self) -> Claim {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let (method, path, query, body) = (&*self.method, &*self.path, &*self.query, self.body.as_bytes());
        let request = sigv4::Request { method, path, query, headers: &headers, body };
        let claim = Claim::of(&request).unwrap();
        let (secret, token) = if claim.access_key_id == KEY { (SECRET, None) } else { (TEMPORARY_SECRET, Some(TOKEN)) };
        assert!(claim.holds(&request, secret), "{} {} is wrongly signed", self.method, self.path);
        assert!(claim.has_token(token));
        claim
    }
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn ok(json: &Value) -> Reply {
    Reply { status: 200, headers: Vec::new(), body: json.to_string().into_bytes() }
}

pub(crate) fn refusal(status: u16, kind: &str) -> Reply {
    let headers = vec![("x-amzn-errortype", kind.to_owned())];
    Reply { status, headers, body: br#"{"Message":"no"}"#.to_vec() }
}

/// Answers as a test wants it, and remembers what it was asked.
pub(crate) struct Server {
    pub(crate) at: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer).await
    }

    pub(crate) async fn start_at(at: &str, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let (at, seen) = (listener.local_addr().unwrap(), Arc::default());
        let router = router(Arc::clone(&seen), answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { at, seen }
    }

    pub(crate) fn url(&self) -> Url {
        format!("http://{}", self.at).parse().unwrap()
    }

    /// The paths that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.path.clone()).collect()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| *asked == path).count()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    pub(crate) fn settings(&self) -> Settings {
        let url = self.url();
        let keys =
            AwsKeys { access_key_id: KEY.to_owned(), secret_access_key: Password::new(SECRET), session_token: None };
        let endpoints = KvsEndpoints {
            kinesisvideo: url.clone(),
            sts: url.clone(),
            iot: url,
            ice_servers: vec!["stun:127.0.0.1:3478".to_owned()],
            authority: None,
        };
        Settings {
            region: "us-east-1".to_owned(),
            login: KvsLogin::Keys(keys),
            role_arn: None,
            endpoints,
            identity: None,
        }
    }

    pub(crate) fn aws(&self) -> Aws {
        Aws::new(self.settings()).unwrap()
    }
}

pub(crate) fn router(seen: Arc<Mutex<Vec<Seen>>>, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Router {
    let answer = Arc::new(answer);
    Router::new().fallback(move |request: Request| {
        let (seen, answer) = (seen.clone(), answer.clone());
        async move {
            let request = Seen::of(request).await;
            seen.lock().unwrap().push(request.clone());
            let reply = answer(&request);
            let mut response = Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            response.body(Body::from(reply.body)).unwrap()
        }
    })
}

pub(crate) fn channel() -> Channel {
    Channel { name: "doorbell-channel".to_owned(), arn: ARN.to_owned() }
}

pub(crate) fn channel_info(name: &str) -> Value {
    json!({
        "ChannelName": name,
        "ChannelARN": ARN.replace("doorbell-channel", name),
        "ChannelType": "SINGLE_MASTER",
        "ChannelStatus": "ACTIVE",
        "CreationTime": 1_700_000_000.0,
        "SingleMasterConfiguration": { "MessageTtlSeconds": 60 },
        "Version": "abcDEF123",
    })
}

/// What a healthy AWS says, with its channel endpoints at the address that was asked.
pub(crate) fn healthy(request: &Seen) -> Reply {
    let host = request.header("host");
    match &*request.path {
        "/describeSignalingChannel" => ok(&json!({ "ChannelInfo": channel_info("doorbell-channel") })),
        "/listSignalingChannels" => ok(&json!({ "ChannelInfoList": [channel_info("doorbell-channel")] })),
        "/getSignalingChannelEndpoint" => ok(&json!({ "ResourceEndpointList": [
            { "Protocol": "WEBRTC", "ResourceEndpoint": format!("https://{host}") },
            { "Protocol": "WSS", "ResourceEndpoint": format!("ws://{host}") },
            { "Protocol": "HTTPS", "ResourceEndpoint": format!("http://{host}"), "New": {} },
        ] })),
        "/v1/get-ice-server-config" => ok(&json!({ "IceServerList": [
            { "Uris": ["turn:127.0.0.1:3479?transport=udp", "turns:127.0.0.1:443?transport=tcp", "gopher:x"],
              "Username": "user", "Password": "relay password", "Ttl": 300 },
            { "Uris": "none" },
        ] })),
        "/endpoint" => ok(&json!({ "endpointAddress": "abc-ats.iot.us-east-1.amazonaws.com" })),
        "/" => assumed(&rfc3339(Duration::from_secs(3_600))),
        path => panic!("{path} is not asked for"),
    }
}

pub(crate) fn rfc3339(from_now: Duration) -> String {
    clock::rfc3339(clock::unix_now() + from_now)
}

pub(crate) fn assumed(expiration: &str) -> Reply {
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
         <AccessKeyId>{TEMPORARY_KEY}</AccessKeyId><SecretAccessKey>{TEMPORARY_SECRET}</SecretAccessKey>\
         <SessionToken>{TOKEN}</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>"
    );
    Reply { status: 200, headers: vec![("content-type", "text/xml".to_owned())], body: body.into_bytes() }
}

/// What a presigned address claims where it is believed.
pub(crate) fn claim_of(url: &SignedUrl) -> (Url, Claim) {
    let url: Url = url.expose().parse().unwrap();
    let host = url
        .port()
        .map_or_else(|| url.host_str().unwrap().to_owned(), |port| format!("{}:{port}", url.host_str().unwrap()));
    let headers = [("host".to_owned(), host)].to_vec();
    let (path, query) = (url.path().to_owned(), url.query().unwrap().to_owned());
    let claim = Seen { method: "GET".to_owned(), path, query, headers, body: String::new() }.signer();
    (url, claim)
}

pub(crate) fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
}
