//! A configuration is read whole, and every mistake in it is shown with its place and its remedy.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use doorstep::config::{
    self, DoorCommand, Enabled, Go2rtc, Go2rtcMode, Gwell, IotEndpoint, KvsLogin, Place, Position, Quality, Transport,
    TutkProtocol, Unlock, VivintEndpoints, WyzeEndpoints,
};
use doorstep::model::{DeviceId, OpenerEntity};
use doorstep::secret::Pem;

use crate::support::score::{self, Figure};

/// Everything this version knows, as an owner would write it.
const WHOLE: &str = r##"
mqtt:
  url: "mqtt://ha:p%40ss%2Fword@broker.local:1884"
  discovery_prefix: homeassistant
  base_topic: doorstep/
http: {listen: "0.0.0.0:8480", token: "4f6b0c7d9e2a815346fb7cd02e918a5d", names: [Door.example], origins: ["HTTPS://Home.example:443/", "http://10.0.0.2:8123"]}
media:
  port: 8555
  addresses: [192.168.1.10, "fd00::10"]
go2rtc:
  enabled: true
  url: https://go2rtc.example/path/
  username: admin
  password: "go: 2 rtc"
  prefix: porch-
  mode: whep
  persist: true
  advertise_url: "http://192.168.1.20:8480"
say:
  engine: tts.piper
  language: de_DE
  url: https://home.example/ha/
  token: eyJhbGciOiJIUzI1NiJ9.e30.abc-_x
  clips: /srv/clips
  allow: [NAS.local, "127.0.0.1:8080", "::1"]
wyze:
  - cameras:
      - name: Front Door
        model: HL_DB2
        mac: d0:3f:27:a1:b2:c3
        uid: ABCDEFGHIJ0123456789
        enr: 0123456789012345
        address: 192.168.1.20
      - {name: "Back \"Door\"", model: WYZEDB3, mac: D03F27A1B2C4, uid: ABCDEFGHIJ0123456780, enr: "#secret: of 16+ ü", address: "192.168.1.21:40000"}
  - email: someone@example.com
    password: md5:7f5f74be86aa53a4abffeeeb0a3c2750
    key_id: 0b1c2d3e
    api_key: 123456
    totp_secret: JBSW Y3DP EHPK 3PXP
    ring_events: [10, 11]
    poll_s: 8
    endpoints: {api: "http://127.0.0.1:8080/", lock: https://lock.example}
    gwell: {servers: [p2p.example:443, "[::1]:8000"], stagger_s: 0}
vivint:
  - username: someone@example.com
    password: hunter2
    totp_secret: JBSW Y3DP EHPK 3PXP
    firebase_api_key: AIzaNotARealKey
    ring_quiet_s: 0
    endpoints:
      identity: "http://127.0.0.1:8080/"
      pubnub_key: sub-c-other
      database: https://db.example
      ice_servers: ["stun:192.168.1.2:3478", "turn:[fd00::1]:80"]
      turn_username: me
      turn_password: "{1}"
  - {username: Other, endpoints: {ice_servers: []}}
kvs:
  - region: eu-central-1
    channels: [front-door, "arn:aws:kinesisvideo:eu-central-1:998877665544:channel/back.door/1700000000000"]
    iot_endpoint: abc-ats.iot.eu-central-1.amazonaws.com:443
    thing: doorbell
    certificate: /ssl/doorbell.pem
    private_key: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    role_alias: doorstep
    credentials_endpoint: abc.credentials.iot.eu-central-1.amazonaws.com
    client_id: doorstep-1
    ring_topics: ["doorbell/+/ring", "doorbell/{channel}/ring"]
    door_command: OPEN_DOOR
    endpoints: {kinesisvideo: "http://127.0.0.1:8080", authority: /ssl/ca.pem, ice_servers: []}
  - region: us-east-1
    access_key_id: AKIAIOSFODNN7EXAMPLE
    secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
    session_token: token
    role_arn: arn:aws:iam::998877665544:role/doorbell-viewer
  - {region: cn-north-1}
doorbells:
  - id: wyze_d03f27a1b2c3
    name:
    transport: new
    quality: sd
    talk_limit_s: 60
    unlock: wyze_yd_lo1_a
    garage: vivint_7001000200030004_61
    unlock_secret: 5a6b0c7d9e2a815346fb7cd02e918a5d
    ring_topic: zigbee2mqtt/button
    ring_payload: '{"action":"single"}'
  - {id: wyze_gw_be1_a, transport: webrtc}
"##;

#[test]
fn everything_that_can_be_said_is_understood() {
    let config = config::parse(WHOLE, "doorstep.yaml").unwrap();
    let mqtt = config.mqtt.unwrap();
    let url = mqtt.url.unwrap();
    assert_eq!((url.host.as_str(), url.port, url.tls), ("broker.local", 1884, false));
    let (user, password) = url.login.unwrap();
    assert_eq!((user.as_str(), password.expose()), ("ha", "p@ss/word"));
    assert_eq!((mqtt.discovery_prefix.as_str(), mqtt.base_topic.as_str()), ("homeassistant", "doorstep"));
    assert_eq!(config.http.listen, SocketAddr::from(([0, 0, 0, 0], 8480)));
    assert_eq!(config.http.origins, ["https://home.example", "http://10.0.0.2:8123"], "as browsers write them");
    assert_eq!(config.http.token.unwrap().expose(), "4f6b0c7d9e2a815346fb7cd02e918a5d");
    assert_eq!(config.http.names, ["door.example"]);
    assert_eq!(config.media.port, 8555);
    assert_eq!(config.media.addresses.len(), 2);

    let go2rtc = &config.go2rtc;
    assert_eq!((go2rtc.enabled, go2rtc.mode, go2rtc.persist), (Enabled::Yes, Go2rtcMode::Whep, true));
    assert_eq!(go2rtc.url.as_ref().unwrap().as_str(), "https://go2rtc.example/path/");
    let (user, password) = go2rtc.login.as_ref().unwrap();
    assert_eq!((user.as_str(), password.expose(), go2rtc.prefix.as_str()), ("admin", "go: 2 rtc", "porch-"));
    assert_eq!(go2rtc.advertise_url.as_ref().unwrap().as_str(), "http://192.168.1.20:8480/");

    let say = &config.say;
    assert_eq!((say.engine.as_deref(), say.language.as_deref()), (Some("tts.piper"), Some("de_DE")));
    let (url, token) = say.assistant.as_ref().unwrap();
    assert_eq!((url.as_str(), token.expose()), ("https://home.example/ha/", "eyJhbGciOiJIUzI1NiJ9.e30.abc-_x"));
    assert_eq!(say.clips.as_deref(), Some(Path::new("/srv/clips")));
    assert_eq!(say.allow.iter().map(String::as_str).collect::<Vec<_>>(), ["127.0.0.1:8080", "[::1]", "nas.local"]);

    let [front, back] = &config.wyze[0].cameras[..] else { panic!("not two cameras") };
    assert_eq!(front.id().as_str(), "wyze_d03f27a1b2c3");
    assert_eq!((front.mac.as_str(), front.uid.as_str()), ("D03F27A1B2C3", "ABCDEFGHIJ0123456789"));
    assert_eq!(front.enr.expose(), "0123456789012345", "digits stay what they are");
    assert_eq!(front.address, SocketAddr::from(([192, 168, 1, 20], 32_761)));
    assert_eq!((back.name.as_str(), back.enr.expose()), ("Back \"Door\"", "#secret: of 16+ ü"));
    assert_eq!(back.address.port(), 40_000);

    assert!(config.wyze[0].login.is_none() && config.wyze[1].cameras.is_empty());
    let login = config.wyze[1].login.as_ref().unwrap();
    assert_eq!((login.email.expose(), login.api_key.expose()), ("someone@example.com", "123456"));
    assert_eq!(login.password.expose(), "md5:7f5f74be86aa53a4abffeeeb0a3c2750");
    assert_eq!((login.ring_events.as_slice(), login.poll.as_secs()), (&[10, 11][..], 8));
    assert_eq!(login.endpoints.api.as_str(), "http://127.0.0.1:8080/");
    assert_eq!(login.endpoints.core, WyzeEndpoints::default().core);
    let servers: Vec<_> = login.gwell.servers.iter().map(|server| (server.host.as_str(), server.port)).collect();
    assert_eq!(servers, [("p2p.example", 443), ("::1", 8_000)]);
    assert!(login.gwell.stagger.is_zero());
    assert_eq!(login.gwell.list_servers, Gwell::default().list_servers);

    let [account, other] = &config.vivint[..] else { panic!("not two accounts") };
    assert_eq!(account.username.expose(), "someone@example.com");
    assert_eq!(account.firebase_api_key.as_ref().unwrap().expose(), "AIzaNotARealKey");
    assert!(account.totp_secret.is_some() && account.ring_quiet.is_zero());
    let (said, usual) = (&account.endpoints, VivintEndpoints::default());
    assert_eq!((said.identity.as_str(), &said.api), ("http://127.0.0.1:8080/", &usual.api));
    assert_eq!((said.pubnub_key.as_str(), said.turn_username.as_str()), ("sub-c-other", "me"));
    assert_eq!(said.database.as_ref().unwrap().as_str(), "https://db.example/");
    assert_eq!(said.ice_servers, ["stun:192.168.1.2:3478", "turn:[fd00::1]:80"]);
    assert_eq!(said.turn_password.expose(), "{1}");
    // Once logged in, its refresh token is enough; without the key nobody talks.
    assert!(other.password.is_none() && other.firebase_api_key.is_none());
    assert!(other.endpoints.ice_servers.is_empty(), "an empty list means none");
    assert_eq!((other.ring_quiet.as_secs(), usual.ice_servers.len()), (5, 2));

    let [certified, keyed, ambient] = &config.kvs[..] else { panic!("not three accounts") };
    assert_eq!((certified.region.as_str(), certified.channels.len()), ("eu-central-1", 2));
    let KvsLogin::Certificate { endpoint, role_alias, thing, identity } = &certified.login else {
        panic!("no such login")
    };
    assert_eq!(endpoint.as_str(), "https://abc.credentials.iot.eu-central-1.amazonaws.com/");
    assert_eq!((role_alias.as_str(), thing.as_str()), ("doorstep", "doorbell"));
    assert!(matches!((&identity.certificate, &identity.private_key), (Pem::File(_), Pem::Text(_))));
    let iot = IotEndpoint { host: "abc-ats.iot.eu-central-1.amazonaws.com".to_owned(), port: Some(443), tls: true };
    assert_eq!((certified.iot_endpoint.as_ref(), certified.door_command), (Some(&iot), DoorCommand::Legacy));
    assert_eq!((certified.client_id.as_deref(), certified.ring_topics.len()), (Some("doorstep-1"), 2));
    assert_eq!(certified.endpoints.kinesisvideo.as_str(), "http://127.0.0.1:8080/");
    assert!(certified.endpoints.ice_servers.is_empty() && certified.endpoints.authority.is_some());
    let KvsLogin::Keys(keys) = &keyed.login else { panic!("no keys") };
    assert_eq!(keys.secret_access_key.expose(), "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    assert!(keys.session_token.is_some() && keyed.role_arn.is_some() && keyed.iot_endpoint.is_none());
    assert_eq!(keyed.ring_topics, ["doorbell/{channel}/ring"]);
    assert_eq!(keyed.endpoints.sts.as_str(), "https://sts.us-east-1.amazonaws.com/");
    assert!(matches!(ambient.login, KvsLogin::Environment));
    assert_eq!(ambient.endpoints.kinesisvideo.as_str(), "https://kinesisvideo.cn-north-1.amazonaws.com.cn/");
    assert_eq!(ambient.endpoints.ice_servers, ["stun:stun.kinesisvideo.cn-north-1.amazonaws.com.cn:443"]);

    let [doorbell, pro] = &config.doorbells[..] else { panic!("not two doorbells") };
    assert_eq!(pro.transport, Transport::Webrtc);
    assert_eq!(doorbell.unlock, Some(Unlock::Lock(DeviceId::parse("wyze_yd_lo1_a").unwrap())));
    assert_eq!(doorbell.garage.as_ref().map(DeviceId::as_str), Some("vivint_7001000200030004_61"));
    assert_eq!(doorbell.unlock_secret.as_ref().unwrap().expose(), "5a6b0c7d9e2a815346fb7cd02e918a5d");
    assert_eq!(doorbell.name, None, "a key without a value is left out");
    assert_eq!((doorbell.transport, doorbell.quality), (Transport::Tutk(TutkProtocol::New), Quality::Sd));
    assert_eq!(doorbell.talk_limit_s, Some(60));
    assert_eq!(doorbell.ring_payload.as_deref(), Some(r#"{"action":"single"}"#));
}

#[test]
fn the_add_ons_options_in_json_are_the_same_language() {
    let options = r#"{
	"mqtt": null,
	"http": {"listen": "127.0.0.1:8480", "token": ""},
	"wyze": [{"cameras": [{"name": "T\u00fcr \/ 1", "model": "HL_DB2", "mac": "D03F27A1B2C3",
		"uid": "ABCDEFGHIJ0123456789", "enr": "0123456789012345", "address": "192.168.1.20"}]}],
	"doorbells": []
}"#;
    let config = config::parse(options, "/data/options.json").unwrap();
    assert!(config.mqtt.is_none() && config.http.token.is_none());
    assert_eq!(config.wyze[0].cameras[0].name, "Tür / 1");
}

#[test]
fn in_the_app_the_broker_may_be_left_to_the_supervisor() {
    let read = |text| config::parse_at(text, "/data/options.json", Place::App);
    for text in ["{}", r#"{"mqtt": {}}"#, r#"{"mqtt": {"url": null}}"#, r#"{"mqtt": {"base_topic": "doorstep"}}"#] {
        let mqtt = read(text).unwrap().mqtt.unwrap();
        assert!(mqtt.url.is_none(), "{text}");
        assert_eq!((mqtt.discovery_prefix.as_str(), mqtt.base_topic.as_str()), ("homeassistant", "doorstep"), "{text}");
    }
    let other = read(r#"{"mqtt": {"base_topic": "door", "discovery_prefix": "ha"}}"#).unwrap().mqtt.unwrap();
    assert_eq!((other.discovery_prefix.as_str(), other.base_topic.as_str()), ("ha", "door"));
    let own = read(r#"{"mqtt": {"url": "mqtt://ha:x@broker"}}"#).unwrap().mqtt.unwrap();
    assert_eq!(own.url.unwrap().to_string(), "mqtt://broker:1883");
}

#[test]
fn in_the_app_a_broker_that_is_written_must_be_right_all_the_same() {
    let mistakes = |text| config::parse_at(text, "f", Place::App).unwrap_err().to_string();
    assert_eq!(
        mistakes("mqtt: {url: 'http://host', base_topic: homeassistant}"),
        "the app's configuration: mqtt.url: not a broker's protocol; expected a broker's address, `mqtt://host:1883` or \
         `mqtts://user:password@host:8883`\n\
         the app's configuration: mqtt.base_topic: `base_topic` and `discovery_prefix` are the same; expected two topics"
    );
    assert_eq!(
        mistakes("mqtt: mqtt://host"),
        "the app's configuration: mqtt: this is a single value; expected a section of keys (`key: value`, a space \
         behind the colon)"
    );
}

#[test]
fn an_opener_is_a_button_unless_its_owner_wants_a_lock() {
    let text = concat!(
        "doorbells:\n",
        "  - {id: kvs_a, unlock: self, unlock_secret: 4f6b0c7d9e2a815346fb7cd02e918a5d}\n",
        "  - {id: kvs_b, opener: lock, unlock: self, garage: vivint_1_2}\n",
        "  - {id: kvs_c, unlock: self, opener: button}\n",
    );
    let config = config::parse(text, "doorstep.yaml").unwrap();
    let unlocks: Vec<_> = config.doorbells.into_iter().map(|doorbell| doorbell.unlock.unwrap()).collect();
    assert_eq!(unlocks, [OpenerEntity::Button, OpenerEntity::Lock, OpenerEntity::Button].map(Unlock::Own));
}

#[test]
fn an_empty_file_is_a_configuration_without_doorbells() {
    for text in ["", "\n# nothing yet\n", "---\n", "{}", "wyze: []\nmqtt:\n"] {
        let config = config::parse(text, "doorstep.yaml").unwrap();
        assert_eq!(config.http.listen, SocketAddr::from(([127, 0, 0, 1], 8480)), "{text:?}");
        assert!(config.mqtt.is_none() && config.wyze.is_empty(), "{text:?}");
        let Go2rtc { enabled, url, prefix, mode, .. } = config.go2rtc;
        assert_eq!((enabled, url, mode), (Enabled::Auto, None, Go2rtcMode::Ws), "{text:?}");
        assert_eq!(prefix, "doorstep_", "{text:?}");
    }
}

/// What is wrong, the file, and what its owner is told behind the name of the file.
struct Case(&'static str, &'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    Case(
        "a voice that cannot speak",
        "say: {engine: tts piper, url: nas.local, clips: ' ', allow: ['*', nas.local:0], volume: 1}\n",
        &[
            "1:15: say.engine: not a name that Home Assistant gives; expected an engine of Home Assistant, such as `tts.piper`",
            "1:31: say.url: not an address; expected the address of Home Assistant, `http://192.168.1.10:8123`",
            "1:31: say.url: there is no `token` beside it; expected both or neither",
            "1:49: say.clips: there is nothing in it; expected a folder, such as `/srv/doorstep/clips`",
            "1:62: say.allow[0]: not one host; expected a host or an IP address, with a port or without, such as `nas.local:8080`",
            "1:67: say.allow[1]: port 0 is no port; expected a host or an IP address, with a port or without, such as `nas.local:8080`",
            "1:81: say.volume: this version does not know this key; it knows here: url, token, engine, language, clips, allow",
        ],
    ),
    Case(
        "a Vivint account that cannot work",
        concat!(
            "vivint:\n",
            "  - password: hunter2\n",
            "  - username: A@b.example\n",
            "    endpoints: {ice_servers: [\"turns:h:443\", \"turn:h\", \"stun:h/x:3478\"], database: \"ws://h\"}\n",
            "  - {username: a@B.example, ring_quiet_s: 61, email: x, firebase_api_key: \" \"}\n",
        ),
        &[
            "2:5: vivint[0].username: missing; expected the name or e-mail address of the account's login",
            "4:31: vivint[1].endpoints.ice_servers[0]: neither `stun:` nor `turn:`, which are the ones it can use; expected `stun:host:port` or `turn:host:port`",
            "4:46: vivint[1].endpoints.ice_servers[1]: there is no port; expected `stun:host:port` or `turn:host:port`",
            "4:56: vivint[1].endpoints.ice_servers[2]: that is no host; expected `stun:host:port` or `turn:host:port`",
            "4:84: vivint[1].endpoints.database: passwords would go there unencrypted; expected an address, `https://host` (`http://` on this machine only)",
            "5:16: vivint[2].username: an account before this one has the same; expected each account once",
            "5:43: vivint[2].ring_quiet_s: out of range; expected a number of seconds from 0 to 60",
            "5:47: vivint[2].email: this version does not know this key; it knows here: username, password, totp_secret, firebase_api_key, ring_quiet_s, endpoints",
            "5:75: vivint[2].firebase_api_key: there is nothing in it; expected the web API key of Vivint's app, 39 characters that begin with `AIza`",
        ],
    ),
    Case(
        "an AWS account that cannot work",
        concat!(
            "kvs:\n",
            "  - channels: [\"a b\", \"arn:aws:kinesisvideo:us-east-1:1:channel/a\"]\n",
            "  - {region: US East, access_key_id: AKIA, secret_access_key: \"hunter 2\", role_alias: r, thing: a/b}\n",
            "  - region: us-east-1\n",
            "    role_alias: doorstep\n",
            "    private_key: hunter2.pem\n",
            "    ring_topics: [\"a/#/b\", \"1/2/3/4/5/6/7/8/9\"]\n",
            "    iot_endpoint: ws://h.example\n",
            "    door_command: open\n",
            "    role_arn: role\n",
            "  - {region: us-east-1, iot_endpoint: \"https://h\", endpoints: {kinesisvideo: \"http://h.example\"}, unlock: self}\n",
        ),
        &[
            "2:5: kvs[0].region: missing; expected an AWS region, such as `eu-central-1`",
            "2:16: kvs[0].channels[0]: not a channel; expected the name or the ARN of a signaling channel, `doorbell-channel`",
            "2:23: kvs[0].channels[1]: not a channel; expected the name or the ARN of a signaling channel, `doorbell-channel`",
            "3:14: kvs[1].region: not a region; expected an AWS region, such as `eu-central-1`",
            "3:38: kvs[1].access_key_id: not an access key's id; expected an access key's id, such as `AKIAIOSFODNN7EXAMPLE`",
            "3:63: kvs[1].secret_access_key: empty, or there is a blank in it; expected the access key's secret",
            "3:87: kvs[1].role_alias: there are keys beside it; expected one way to log in",
            "3:97: kvs[1].thing: not a name at AWS; expected 1 to 128 letters, digits, `_`, `-`, `.`, `:`, `=`, `,` and `@`",
            "4:5: kvs[2].certificate: missing; expected the path of a PEM file, or its text",
            "4:5: kvs[2].credentials_endpoint: missing; expected the host of the credentials provider, `<id>.credentials.iot.<region>.amazonaws.com`",
            "4:5: kvs[2].thing: missing; the credentials provider asks for it",
            "7:19: kvs[2].ring_topics[0]: not a topic filter that AWS IoT takes; expected an MQTT topic filter, such as `doorbell/{channel}/ring`",
            "7:28: kvs[2].ring_topics[1]: not a topic filter that AWS IoT takes; expected an MQTT topic filter, such as `doorbell/{channel}/ring`",
            "8:19: kvs[2].iot_endpoint: rings would go there unencrypted; expected the host of AWS IoT, `<id>-ats.iot.<region>.amazonaws.com`, with `:443` where 8883 is blocked",
            "9:19: kvs[2].door_command: no doorbell knows it; expected `open_door` or `OPEN_DOOR`",
            "10:15: kvs[2].role_arn: not the ARN of a role; expected the ARN of a role, `arn:aws:iam::123456789012:role/name`",
            "11:39: kvs[3].iot_endpoint: not a protocol of AWS IoT; expected the host of AWS IoT, `<id>-ats.iot.<region>.amazonaws.com`, with `:443` where 8883 is blocked",
            "11:78: kvs[3].endpoints.kinesisvideo: passwords would go there unencrypted; expected an address, `https://host` (`http://` on this machine only)",
            "11:99: kvs[3].unlock: this version does not know this key; it knows here: region, channels, certificate, private_key, thing, access_key_id, secret_access_key, session_token, role_alias, credentials_endpoint, role_arn, iot_endpoint, client_id, ring_topics, door_command, endpoints",
        ],
    ),
    Case(
        "an unknown key near a known one",
        "mqqt: {url: mqtt://h}\n",
        &["1:1: mqqt: unknown key; did you mean `mqtt`?"],
    ),
    Case(
        "an unknown key near none",
        "homekit: []\n",
        &[
            "1:1: homekit: this version does not know this key; it knows here: mqtt, http, media, go2rtc, say, wyze, vivint, kvs, log_level, doorbells",
        ],
    ),
    Case(
        "an unknown key in a section",
        concat!("media:\n", "  prot: 8555\n",),
        &["2:3: media.prot: unknown key; did you mean `port`?"],
    ),
    Case(
        "a name that is an address",
        concat!("http:\n", "  names: [door.example, \"https://door.example\"]\n",),
        &["2:25: http.names[1]: not the name of one host; expected a host name, `doorstep.example.com`"],
    ),
    Case(
        "a go2rtc of mistakes only",
        concat!(
            "go2rtc:\n",
            "  enabled: sometimes\n",
            "  url: \"http://hunter2:hunter2@192.168.1.2:1984\"\n",
            "  username: \"hunter2:\"\n",
            "  prefix: \"\"\n",
            "  mode: rtsp\n",
            "  persist: 1\n",
            "  advertise_url: 192.168.1.20\n",
            "  port: 1984\n",
        ),
        &[
            "2:12: go2rtc.enabled: neither of the three; expected `auto`, `true` or `false`",
            "3:8: go2rtc.url: a login does not belong into the address; expected the address of its web page, `http://192.168.1.10:1984`",
            "4:13: go2rtc.username: a colon cannot be sent in a name; expected its `api.username`",
            "4:13: go2rtc.username: there is no `password` beside it; expected both or neither",
            "5:11: go2rtc.prefix: not what a name can begin with; expected 1 to 32 letters, digits, `_` and `-`, such as `doorstep_`",
            "6:9: go2rtc.mode: not a way that go2rtc knows; expected `ws` or `whep`",
            "7:12: go2rtc.persist: neither of the two; expected `true` or `false`",
            "8:18: go2rtc.advertise_url: not an address; expected where go2rtc reaches Doorstep, `http://192.168.1.20:8480`",
            "9:3: go2rtc.port: this version does not know this key; it knows here: enabled, url, username, password, prefix, mode, persist, advertise_url",
        ],
    ),
    Case(
        "a go2rtc elsewhere that would look for Doorstep at home",
        "go2rtc: {url: \"http://192.168.1.2:1984\", password: hunter2, advertise_url: \"http://localhost:8480\"}\n",
        &[
            "1:52: go2rtc.password: there is no `username` beside it; expected both or neither",
            "1:76: go2rtc.advertise_url: go2rtc would look for it on its own machine; expected an address of this one",
        ],
    ),
    Case(
        "half a login",
        concat!(
            "wyze:\n",
            "  - email: a@b.c\n",
            "    api_key: hunter2hunter2\n",
            "  - password: \"  \"\n",
            "    firebase_api_key:\n"
        ),
        &[
            "2:5: wyze[0].password: missing; expected the account's password",
            "2:5: wyze[0].key_id: missing; expected the key's id from the developer console",
            "4:5: wyze[1].email: missing; expected the account's e-mail address",
            "4:5: wyze[1].key_id: missing; expected the key's id from the developer console",
            "4:5: wyze[1].api_key: missing; expected the API key from the developer console",
            "4:15: wyze[1].password: there is nothing in it; expected the account's password",
            "5:5: wyze[1].firebase_api_key: this version does not know this key; it knows here: cameras, email, password, key_id, api_key, totp_secret, ring_events, poll_s, endpoints, gwell",
        ],
    ),
    Case(
        "a login that cannot be",
        concat!(
            "wyze:\n",
            "  - email: hunter2\n",
            "    password: hunter2\n",
            "    key_id: hunter2\n",
            "    api_key: hunter2\n",
            "    totp_secret: hunter2+\n",
            "    ring_events: [10, ten]\n",
            "    poll_s: 0\n",
            "    endpoints: {api: \"http://hunter2.example\", auth: \"https://h/path\", core: \"https://hunter2@h\", lokc: x}\n",
            "    gwell: {servers: [h, \"h:0\", \"h/x:1\"], stagger_s: 61}\n",
        ),
        &[
            "2:12: wyze[0].email: not an e-mail address; expected the account's e-mail address",
            "6:18: wyze[0].totp_secret: not a secret in base32; expected the authenticator's secret: letters A-Z and digits 2-7",
            "7:23: wyze[0].ring_events[1]: not a whole number; expected the number of an event, such as 10",
            "8:13: wyze[0].poll_s: out of range; expected a number of seconds from 1 to 60",
            "9:22: wyze[0].endpoints.api: passwords would go there unencrypted; expected an address, `https://host` (`http://` on this machine only)",
            "9:54: wyze[0].endpoints.auth: more than a host and a port; expected an address, `https://host` (`http://` on this machine only)",
            "9:78: wyze[0].endpoints.core: more than a host and a port; expected an address, `https://host` (`http://` on this machine only)",
            "9:99: wyze[0].endpoints.lokc: unknown key; did you mean `lock`?",
            "10:23: wyze[0].gwell.servers[0]: no port; expected a host and its UDP port, `host:51701`",
            "10:26: wyze[0].gwell.servers[1]: not a port; expected a host and its UDP port, `host:51701`",
            "10:33: wyze[0].gwell.servers[2]: not a host; expected a host and its UDP port, `host:51701`",
            "10:54: wyze[0].gwell.stagger_s: out of range; expected a number of seconds from 0 to 60",
        ],
    ),
    Case(
        "what belongs to a login beside cameras alone",
        concat!("wyze:\n", "  - cameras: []\n", "    poll_s: 5\n"),
        &["3:13: wyze[0].poll_s: of no use without a login; expected `email`, `password`, `key_id`, `api_key`"],
    ),
    Case(
        "a secret that guards nothing, and one that others have",
        concat!(
            "doorbells:\n",
            "  - {id: wyze_a, unlock_secret: 4f6b0c7d9e2a815346fb7cd02e918a5d}\n",
            "  - {id: wyze_b, unlock: wyze_l, unlock_secret: hunter2}\n"
        ),
        &[
            "2:33: doorbells[0].unlock_secret: there is no `unlock` or `garage` beside it; expected the door that it guards",
            "3:49: doorbells[1].unlock_secret: too short; expected 32 or more random characters (`openssl rand -hex 32` makes some)",
        ],
    ),
    Case(
        "a secret without a space in front",
        "http: {token:hunter2hunter2, listen: 127.0.0.1:1}\nmqtt: {url:mqtt://ha:hunter2@host, url:mqtt://ha:hunter2@host}\n",
        &[
            "1:8: http.token…: a space is missing behind the colon",
            "2:7: mqtt.url: missing; expected a broker's address, `mqtt://host:1883` or `mqtts://user:password@host:8883`",
            "2:8: mqtt.url…: a space is missing behind the colon",
            "2:36: `url…` stands here a second time; the first is on line 2",
        ],
    ),
    Case(
        "a secret behind another sign than a colon",
        "http: {token=hunter2hunter2}\n",
        &["1:8: http.token…: this version does not know this key; it knows here: listen, token, names, origins"],
    ),
    Case(
        "a missing secret",
        concat!(
            "wyze:\n",
            "- cameras:\n",
            "  - name: A\n",
            "    model: HL_DB2\n",
            "    mac: D03F27A1B2C3\n",
            "    uid: ABCDEFGHIJ0123456789\n",
            "    address: 10.0.0.1\n",
        ),
        &["3:5: wyze[0].cameras[0].enr: missing; expected the camera's secret of 16 or more characters"],
    ),
    Case(
        "a secret that is written down empty",
        "wyze: [{cameras: [{name: A, model: HL_DB2, mac: D03F27A1B2C3, uid: ABCDEFGHIJ0123456789, enr: , address: 10.0.0.1}]}]\n",
        &["1:90: wyze[0].cameras[0].enr: missing; expected the camera's secret of 16 or more characters"],
    ),
    Case(
        "a short secret",
        "wyze: [{cameras: [{name: A, model: HL_DB2, mac: D03F27A1B2C3, uid: ABCDEFGHIJ0123456789, enr: hunter2, address: 10.0.0.1}]}]\n",
        &["1:95: wyze[0].cameras[0].enr: too short; expected the camera's secret of 16 or more characters"],
    ),
    Case(
        "a camera of mistakes only",
        concat!(
            "wyze:\n",
            "  - cameras:\n",
            "      - name: ''\n",
            "        model: HL DB2\n",
            "        mac: hunter2\n",
            "        uid: abcdefghij0123456789\n",
            "        enr: [hunter2]\n",
            "        address: front-door.local\n",
            "        ner: hunter2hunter2hunter2\n",
        ),
        &[
            "3:15: wyze[0].cameras[0].name: a name of the wrong length; expected a name of 1 to 64 characters",
            "4:16: wyze[0].cameras[0].model: not a model code; expected Wyze's model code of 1 to 32 letters, digits, `_`, `-` and `.`, such as `HL_DB2`",
            "5:14: wyze[0].cameras[0].mac: not a MAC address; expected 12 hexadecimal digits, such as `AABBCCDDEEFF`",
            "6:14: wyze[0].cameras[0].uid: not a camera's UID; expected 20 upper-case letters and digits",
            "7:14: wyze[0].cameras[0].enr: this is a list; expected the camera's secret of 16 or more characters",
            "8:18: wyze[0].cameras[0].address: not an IP address (names are not looked up); expected the camera's IP address, `192.168.1.20` or `192.168.1.20:32761`",
            "9:9: wyze[0].cameras[0].ner: unknown key; did you mean `enr`?",
        ],
    ),
    Case(
        "a camera without anything",
        concat!("wyze:\n", "  - cameras:\n", "      -\n",),
        &[
            "3:8: wyze[0].cameras[0].name: missing; expected a name of 1 to 64 characters",
            "3:8: wyze[0].cameras[0].model: missing; expected Wyze's model code of 1 to 32 letters, digits, `_`, `-` and `.`, such as `HL_DB2`",
            "3:8: wyze[0].cameras[0].mac: missing; expected 12 hexadecimal digits, such as `AABBCCDDEEFF`",
            "3:8: wyze[0].cameras[0].uid: missing; expected 20 upper-case letters and digits",
            "3:8: wyze[0].cameras[0].enr: missing; expected the camera's secret of 16 or more characters",
            "3:8: wyze[0].cameras[0].address: missing; expected the camera's IP address, `192.168.1.20` or `192.168.1.20:32761`",
        ],
    ),
    Case(
        "the same camera twice",
        concat!(
            "wyze:\n",
            "- cameras:\n",
            "  - {name: A, model: HL_DB2, mac: D03F27A1B2C3, uid: ABCDEFGHIJ0123456789, enr: hunter2hunter2hunter2, address: 10.0.0.1}\n",
            "- cameras:\n",
            "  - {name: B, model: HL_DB2, mac: 'd0:3f:27:a1:b2:c3', uid: ABCDEFGHIJ0123456789, enr: hunter2hunter2hunter2, address: 10.0.0.2}\n",
        ),
        &["5:35: wyze[1].cameras[0].mac: a camera before this one has the same; expected each camera once"],
    ),
    Case(
        "a key twice",
        concat!("http:\n", "  listen: 127.0.0.1:1\n", "  listen: 127.0.0.1:2\n",),
        &["3:3: `listen` stands here a second time; the first is on line 2"],
    ),
    Case(
        "a key twice and a mistake beside it",
        concat!("media: {port: 0}\n", "media: {port: 1}\n",),
        &[
            "1:15: media.port: out of range; expected a port number from 1 to 65535",
            "2:1: `media` stands here a second time; the first is on line 1",
        ],
    ),
    Case("a tab", concat!("http:\n", "\tlisten: 127.0.0.1:1\n",), &["2:1: a tab; indent with spaces"]),
    Case(
        "a bracket that never closes",
        "media: {addresses: [10.0.0.1}\n",
        &["1:29: this is not YAML: while parsing a flow sequence, expected ',' or ']'"],
    ),
    Case(
        "a quote that never closes",
        concat!("mqtt:\n", "  url: \"mqtt://user:hunter2@host\n",),
        &["2:8: this is not YAML: while scanning a quoted scalar, found unexpected end of stream"],
    ),
    Case(
        "keys out of line",
        concat!("http:\n", "  listen: 127.0.0.1:1\n", " token: hunter2\n",),
        &["3:2: this is not YAML: while parsing a block mapping, did not find expected key"],
    ),
    Case(
        "a value where a section should be",
        "mqtt: mqtt://user:hunter2@host\n",
        &["1:7: mqtt: this is a single value; expected a section of keys (`key: value`, a space behind the colon)"],
    ),
    Case(
        "a section where a list should be",
        concat!("wyze:\n", "  cameras: []\n",),
        &["2:3: wyze: this is a section of keys; expected a list"],
    ),
    Case(
        "a list where a value should be",
        "http: {listen: [127.0.0.1:1]}\n",
        &["1:16: http.listen: this is a list; expected an IP address and a port, `127.0.0.1:8480`"],
    ),
    Case(
        "a list where the file should be",
        "- mqtt\n",
        &["1:1: this is a list; expected a section of keys (`key: value`, a space behind the colon)"],
    ),
    Case(
        "no space behind the colon",
        concat!("http:\n", "  token:hunter2hunter2hunter2\n",),
        &["2:3: http: this is a single value; expected a section of keys (`key: value`, a space behind the colon)"],
    ),
    Case(
        "a broker without protocol",
        "mqtt: {url: 'user:hunter2@host:1883'}\n",
        &[
            "1:13: mqtt.url: an address without `mqtt://` in front; expected a broker's address, `mqtt://host:1883` or `mqtts://user:password@host:8883`",
        ],
    ),
    Case(
        "a broker of another protocol",
        "mqtt: {url: 'http://user:hunter2@host:1883'}\n",
        &[
            "1:13: mqtt.url: not a broker's protocol; expected a broker's address, `mqtt://host:1883` or `mqtts://user:password@host:8883`",
        ],
    ),
    Case(
        "a broker without host",
        "mqtt: {url: 'mqtt://'}\n",
        &[
            "1:13: mqtt.url: the address names no host; expected a broker's address, `mqtt://host:1883` or `mqtts://user:password@host:8883`",
        ],
    ),
    Case(
        "a slash in the broker's password",
        "mqtt: {url: 'mqtt://user:hunter2/hunter2@host'}\n",
        &[
            "1:13: mqtt.url: not an address (write `/`, `?`, `#` and `@` in a password as `%2F`, `%3F`, `%23` and `%40`); expected a broker's address, `mqtt://host:1883` or `mqtts://user:password@host:8883`",
        ],
    ),
    Case(
        "a broker without address",
        "mqtt: {base_topic: x}\n",
        &[
            "1:7: mqtt.url: missing; expected a broker's address, `mqtt://host:1883` or `mqtts://user:password@host:8883`",
        ],
    ),
    Case(
        "a wildcard in a topic",
        "mqtt: {url: 'mqtt://h', base_topic: 'door/+'}\n",
        &[
            "1:37: mqtt.base_topic: a topic that cannot be published to; expected an MQTT topic without `+` and `#`, such as `doorstep` or `home/door`",
        ],
    ),
    Case(
        "a port out of range",
        "media: {port: 70000}\n",
        &["1:15: media.port: out of range; expected a port number from 1 to 65535"],
    ),
    Case(
        "a port in words",
        "media: {port: eight}\n",
        &["1:15: media.port: not a whole number; expected a port number from 1 to 65535"],
    ),
    Case(
        "an address of no machine",
        "media: {addresses: [0.0.0.0, 224.0.0.1, 10.0.0.256, ~, 10.0.0.1]}\n",
        &[
            "1:21: media.addresses[0]: an address that belongs to no single machine; expected the IP address of one machine, `192.168.1.10`",
            "1:30: media.addresses[1]: an address that belongs to no single machine; expected the IP address of one machine, `192.168.1.10`",
            "1:41: media.addresses[2]: not an IP address; expected the IP address of one machine, `192.168.1.10`",
            "1:53: media.addresses[3]: missing; expected the IP address of one machine, `192.168.1.10`",
        ],
    ),
    Case(
        "a wildcard for other sites",
        "http: {origins: ['*', 'https://*.example']}\n",
        &[
            "1:18: http.origins[0]: a `*` would let the pages of many sites in; expected the address of one site without a path, `https://home.example:8123`",
            "1:23: http.origins[1]: a `*` would let the pages of many sites in; expected the address of one site without a path, `https://home.example:8123`",
        ],
    ),
    Case(
        "other sites that are none",
        "http: {origins: [home.example, 'ws://home.example', 'https://home.example/lovelace', null, 'https://a:b@home.example']}\n",
        &[
            "1:18: http.origins[0]: not the address of a site; expected the address of one site without a path, `https://home.example:8123`",
            "1:32: http.origins[1]: neither `http://` nor `https://`; expected the address of one site without a path, `https://home.example:8123`",
            "1:53: http.origins[2]: more than a site; expected the address of one site without a path, `https://home.example:8123`",
            "1:86: http.origins[3]: missing; expected the address of one site without a path, `https://home.example:8123`",
            "1:92: http.origins[4]: more than a site; expected the address of one site without a path, `https://home.example:8123`",
        ],
    ),
    Case(
        "a token that one types without thinking",
        "http: {token: '12345678901234567890123456789012'}\n",
        &[
            "1:15: http.token: looks like a sample that others have too; expected 32 or more random characters (`openssl rand -hex 32` makes some)",
        ],
    ),
    Case(
        "a token that repeats itself",
        "http: {token: 'hunter2-Kq9hunter2-Kq9hunter2-Kq9hunter2-Kq9'}\n",
        &[
            "1:15: http.token: looks like a sample that others have too; expected 32 or more random characters (`openssl rand -hex 32` makes some)",
        ],
    ),
    Case(
        "open to others with a short token",
        "http: {listen: '0.0.0.0:8480', token: hunter2}\n",
        &["1:39: http.token: too short; expected 32 or more random characters (`openssl rand -hex 32` makes some)"],
    ),
    Case(
        "a token out of documentation",
        "http: {token: 'changeme-changeme-changeme-0123456789'}\n",
        &[
            "1:15: http.token: looks like a sample that others have too; expected 32 or more random characters (`openssl rand -hex 32` makes some)",
        ],
    ),
    Case(
        "a token of one letter",
        "http: {token: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}\n",
        &[
            "1:15: http.token: looks like a sample that others have too; expected 32 or more random characters (`openssl rand -hex 32` makes some)",
        ],
    ),
    Case(
        "a token with a space",
        "http: {token: 'hunter2 hunter2 hunter2 hunter2 hunter2'}\n",
        &[
            "1:15: http.token: has a character that cannot stand in an HTTP header; expected 32 or more random characters (`openssl rand -hex 32` makes some)",
        ],
    ),
    Case(
        "an address without a port",
        "http: {listen: 127.0.0.1}\n",
        &["1:16: http.listen: not an address with a port; expected an IP address and a port, `127.0.0.1:8480`"],
    ),
    Case(
        "a doorbell without id and with wrong wishes",
        concat!(
            "doorbells:\n",
            "  - transport: p2p\n",
            "    quality: 4k\n",
            "    talk_limit_s: 5\n",
            "    unlock: Nonsense\n",
            "    opener: cover\n",
        ),
        &[
            "2:5: doorbells[0].id: missing; expected 1 to 64 characters of a-z, 0-9 and `_`, as `/api/doorbells` shows it",
            "2:16: doorbells[0].transport: not a transport of this version; expected `auto`, `tutk`, `old`, `new`, `webrtc` or `gwell`",
            "3:14: doorbells[0].quality: not a quality; expected `hd` or `sd`",
            "4:19: doorbells[0].talk_limit_s: out of range; expected a number of seconds from 10 to 3600",
            "5:13: doorbells[0].unlock: not an id; expected the id of a lock, as `doorstep devices` shows it, or `self` for an opener in the doorbell",
            "6:13: doorbells[0].opener: not what an opener can be shown as; expected `button` or `lock`",
        ],
    ),
    Case(
        "an opener where there can be none, and what speaks of one that is not enabled",
        concat!(
            "doorbells:\n",
            "  - {id: wyze_a, unlock: self}\n",
            "  - {id: vivint_a, unlock: self, opener: lock}\n",
            "  - {id: kvs_a, opener: button}\n",
            "  - {id: kvs_b, unlock: wyze_l, opener: lock}\n",
            "  - {id: kvs_c, garage: self}\n",
            "  - {id: kvs_d, unlock: [self]}\n",
        ),
        &[
            "2:26: doorbells[0].unlock: only a doorbell on AWS KVS (`kvs_…`) opens a door by itself; expected the id of a lock, as `doorstep devices` shows it",
            "3:28: doorbells[1].unlock: only a doorbell on AWS KVS (`kvs_…`) opens a door by itself; expected the id of a lock, as `doorstep devices` shows it",
            "4:25: doorbells[2].opener: there is no `unlock: self` beside it; expected the opener that it shows",
            "5:41: doorbells[3].opener: there is no `unlock: self` beside it; expected the opener that it shows",
            "6:25: doorbells[4].garage: no doorbell is a garage door; expected the id of a garage door, as `doorstep devices` shows it",
            "7:25: doorbells[5].unlock: this is a list; expected the id of a lock, as `doorstep devices` shows it, or `self` for an opener in the doorbell",
        ],
    ),
    Case(
        "channels of one name in two accounts",
        concat!(
            "kvs:\n",
            "  - {region: eu-central-1, channels: [front, side]}\n",
            "  - {region: us-east-1, channels: ['arn:aws:kinesisvideo:us-east-1:1:channel/front/17', back]}\n",
            "doorbells: [{id: kvs_front, unlock: self}]\n",
        ),
        &[
            "3:35: kvs[1].channels: an account before this one names a channel that is called the same, and a doorbell's id is its channel's name; expected each name in one account",
        ],
    ),
    Case(
        "an opener that might be that of a doorbell in another account",
        concat!(
            "kvs: [{region: eu-central-1, channels: [front]}, {region: us-east-1}]\n",
            "doorbells: [{id: kvs_front, unlock: self}]\n",
        ),
        &[
            "2:37: doorbells[0].unlock: there is more than one account under `kvs`, and not all of them name their `channels`, so that this id might come to mean another door; expected `channels` in each of them",
        ],
    ),
    Case(
        "an opener that another doorbell names as its lock",
        concat!(
            "doorbells:\n",
            "  - {id: kvs_a, unlock: self}\n",
            "  - {id: kvs_b, unlock: kvs_a}\n",
            "  - {id: wyze_a, garage: kvs_a}\n",
            "  - {id: wyze_b, unlock: kvs_c}\n",
            "  - {id: kvs_c, unlock: self}\n",
        ),
        &[
            "3:25: doorbells[1].unlock: an entry before this one opens the same lock; expected each lock once",
            "4:26: doorbells[2].garage: another `garage` or `unlock` opens the same door; expected each garage door once",
            "6:25: doorbells[4].unlock: an entry before this one opens the same lock; expected each lock once",
        ],
    ),
    Case(
        "the same lock at two doorbells",
        "doorbells: [{id: wyze_a, unlock: wyze_l}, {id: wyze_b, unlock: wyze_l}]\n",
        &["1:64: doorbells[1].unlock: an entry before this one opens the same lock; expected each lock once"],
    ),
    Case(
        "the same garage door twice, and one as a lock",
        concat!(
            "doorbells:\n",
            "  - {id: a, unlock: l, garage: g}\n",
            "  - {id: b, garage: g}\n",
            "  - {id: c, garage: l}\n",
            "  - {id: d, garage: Nonsense}\n",
        ),
        &[
            "3:21: doorbells[1].garage: another `garage` or `unlock` opens the same door; expected each garage door once",
            "4:21: doorbells[2].garage: another `garage` or `unlock` opens the same door; expected each garage door once",
            "5:21: doorbells[3].garage: not an id; expected the id of a garage door, as `doorstep devices` shows it",
        ],
    ),
    Case(
        "the same doorbell twice",
        "doorbells: [{id: wyze_a}, {id: wyze_a}]\n",
        &["1:32: doorbells[1].id: an entry before this one has the same; expected each doorbell once"],
    ),
    Case(
        "an id of foreign letters",
        "doorbells: [{id: Wyze/1}]\n",
        &[
            "1:18: doorbells[0].id: not an id; expected 1 to 64 characters of a-z, 0-9 and `_`, as `/api/doorbells` shows it",
        ],
    ),
    Case(
        "an alias",
        concat!("http: &a {listen: 127.0.0.1:1}\n", "media: *a\n",),
        &["1:7: an anchor (`&name`); write the value without it"],
    ),
    Case(
        "a tag of Home Assistant",
        concat!("mqtt:\n", "  url: !secret mqtt_url\n",),
        &["2:8: `!secret` works in Home Assistant's own files only; write the value itself here"],
    ),
    Case(
        "one topic for two things",
        concat!(
            "mqtt: {url: mqtt://h, base_topic: homeassistant}\n",
            "doorbells: [{id: a, ring_topic: homeassistant/a/ring}, {id: b, ring_topic: homeassistant2}]\n"
        ),
        &[
            "1:35: mqtt.base_topic: `base_topic` and `discovery_prefix` are the same; expected two topics",
            "2:33: doorbells[0].ring_topic: Doorstep's own topic; expected the one that the button publishes to",
        ],
    ),
    Case(
        "the default topic for two things",
        concat!(
            "mqtt: {url: mqtt://h, discovery_prefix: doorstep}\n",
            "doorbells: [{id: a, ring_topic: doorstep/a/ring}]\n"
        ),
        &[
            "1:41: mqtt.discovery_prefix: `base_topic` and `discovery_prefix` are the same; expected two topics",
            "2:33: doorbells[0].ring_topic: Doorstep's own topic; expected the one that the button publishes to",
        ],
    ),
    Case(
        "a second document",
        concat!("http: {}\n", "---\n", "media: {}\n",),
        &["2:1: a second document begins here; expected one"],
    ),
    Case(
        "a section as a key",
        concat!("? {a: b}\n", ": c\n",),
        &["1:3: this is not a key; expected one word before the colon"],
    ),
    Case(
        "a last line without a colon",
        concat!("http: {}\n", "media\n", "\n", "\n"),
        &["2:6: a colon is missing before this place; expected `key: value`"],
    ),
    Case(
        "a brace without end",
        concat!("http: {}\n", "media: {port: 1\n", "\n"),
        &["2:16: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'"],
    ),
    Case("brackets without end", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", &["1:18: nested too deeply"]),
];

#[test]
fn row_40_every_mistake_is_shown_with_its_place_and_its_remedy() {
    let told = CASES.iter().map(|Case(_, text, expected)| {
        let errors = config::parse(text, "doorstep.yaml").err().map(|errors| errors.to_string()).unwrap_or_default();
        expected.iter().filter(|line| errors.lines().any(|told| told == format!("doorstep.yaml:{line}"))).count()
    });
    let mistakes = CASES.iter().map(|Case(.., expected)| expected.len()).sum();
    score::tally(Figure::MistakesTold, told.sum(), mistakes);
    assert!(CASES.len() >= 25);
    for Case(name, text, expected) in CASES {
        let errors = config::parse(text, "doorstep.yaml").expect_err(name).to_string();
        let expected: Vec<String> = expected.iter().map(|line| format!("doorstep.yaml:{line}")).collect();
        assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "{name}");
    }
}

#[test]
fn row_40_no_value_is_ever_shown() {
    for Case(name, text, _) in CASES {
        let errors = config::parse(text, "doorstep.yaml").expect_err(name);
        let shown = format!("{errors} {errors:?}");
        assert!(!shown.contains("hunter2"), "{name}: {shown}");
    }
}

/// As its owner meets it: on standard error, and nothing else there, with the exit code that says so.
#[test]
fn row_40_the_program_tells_every_mistake_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("doorstep.yaml"), folder.path().join("data"));
    let commands: [&[&str]; 4] = [&["run"], &["check", "--offline"], &["devices"], &["forget"]];
    // A start of the program takes its time, so half of them have to do.
    let some: Vec<_> = CASES.iter().step_by(2).collect();
    assert!(some.len() >= 25);
    for (Case(name, text, expected), command) in some.into_iter().zip(commands.iter().cycle()) {
        fs::write(&file, text).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_doorstep"));
        program.args(*command).arg("--config").arg(&file).arg("--data").arg(&data);
        let ended = program.env_remove("DOORSTEP_LOG").env_remove("SUPERVISOR_TOKEN").output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        let expected: Vec<String> = expected.iter().map(|line| format!("{}:{line}", file.display())).collect();
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{command:?} of {name}");
        assert_eq!((ended.status.code(), &*ended.stdout), (Some(2), &b""[..]), "{command:?} of {name}");
        assert!(!told.contains("hunter2"), "{name}: {told}");
    }
    assert!(!data.exists(), "something was stored before the configuration was understood");
}

#[test]
fn a_configuration_prints_no_secret() {
    let shown = format!("{:?}", config::parse(WHOLE, "doorstep.yaml").unwrap());
    for secret in [
        "p@ss",
        "4f6b0c",
        "D03F27A1B2C3",
        "ABCDEFGHIJ",
        "01234567890",
        "#secret",
        "5a6b0c",
        "someone",
        "7f5f74",
        "0b1c2d",
        "123456",
        "JBSW",
        "go: 2",
    ] {
        assert!(!shown.contains(secret), "{secret} stands in {shown}");
    }
}

#[test]
fn a_brokers_address_is_shown_without_its_login() {
    for (written, shown) in [
        ("mqtt://ha:hunter2@broker.local", "mqtt://broker.local:1883"),
        ("ssl://ha:hunter2@[::1]:9", "mqtts://[::1]:9"),
    ] {
        assert_eq!(config::MqttUrl::parse(written).unwrap().to_string(), shown);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("doorstep.yaml");
    let error = config::load(&missing, Place::Standalone).unwrap_err().to_string();
    assert_eq!(error, format!("{}: cannot be read: No such file or directory (os error 2)", missing.display()));

    fs::write(&missing, b"http: {}\n# \xff\n").unwrap();
    let error = config::load(&missing, Place::Standalone).unwrap_err().to_string();
    assert_eq!(error, format!("{}:2:3: this is not text in UTF-8", missing.display()));

    fs::write(&missing, WHOLE).unwrap();
    assert_eq!(config::load(&missing, Place::Standalone).unwrap().wyze.len(), 2);
}

#[test]
fn nonsense_is_a_mistake_and_never_a_panic() {
    for cut in (0..WHOLE.len()).filter(|cut| WHOLE.is_char_boundary(*cut)) {
        drop(config::parse(&WHOLE[..cut], "doorstep.yaml"));
        let mut text = WHOLE.to_owned();
        text.insert(cut, '\u{1}');
        drop(config::parse(&text, "doorstep.yaml"));
    }
}

/// What the parser finds missing at the end it finds on the line behind it, whichever way lines end.
#[test]
fn crash_config_a_key_that_is_none_at_the_end() {
    let at = |text: &str| config::parse(text, "doorstep.yaml").unwrap_err().mistakes[0].at.unwrap();
    assert_eq!(at("\n ? "), Position { line: 2, column: 3 });
    assert_eq!(at("go2rtc:\r\n  ? "), Position { line: 2, column: 4 });
    assert_eq!(at("go2rtc:\r  nonsense: 1\r"), Position { line: 2, column: 3 });
}
