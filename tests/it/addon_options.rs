//! Options that Home Assistant lets through are read as its form means them, and what is wrong in them is told by
//! the name that the owner sees.

use doorstep::config::{self, Config, LogLevel, Place};
use serde_json::{Value, json};

use crate::support::supervisor_options::written;
use crate::support::yaml;

/// What Doorstep reads out of options as an owner saved them, or what it says.
///
/// # Panics
/// When the Supervisor would have refused them, so that Doorstep would never see them.
fn read(options: &Value) -> Result<Config, String> {
    let app = yaml::read("config.yaml");
    let written = written(&app["schema"], &app["options"], options).unwrap_or_else(|said| panic!("{options}: {said}"));
    // As the Supervisor writes it.
    let text = serde_json::to_string_pretty(&written).unwrap();
    config::parse_at(&text, "/data/options.json", Place::App).map_err(|errors| errors.to_string())
}

fn doorbell(wrong: &Value) -> Value {
    let mut entry = json!({"id": "wyze_d03f27a1b2c3"});
    entry.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
    json!({"doorbells": [entry]})
}

#[test]
fn an_app_that_was_just_installed_needs_no_options() {
    let config = read(&json!({})).unwrap();
    assert!(config.doorbells.is_empty() && config.media.addresses.is_empty() && config.http.names.is_empty());
    assert_eq!(config.log_level, None);
    let mqtt = config.mqtt.expect("the Supervisor's broker");
    assert!(mqtt.url.is_none());
    assert_eq!((mqtt.discovery_prefix.as_str(), mqtt.base_topic.as_str()), ("homeassistant", "doorstep"));
}

#[test]
fn what_is_chosen_counts() {
    let config = read(&json!({
        "doorbells": [{"id": "wyze_d03f27a1b2c3", "name": "Front", "talk_limit_s": 60, "quality": "sd"}],
        "mqtt": {"url": "mqtt://me:word@192.168.1.5", "base_topic": "bells"},
        "media": {"addresses": ["192.0.2.1"]},
        "log_level": "debug",
        "gone_with_an_older_version": true,
    }))
    .unwrap();
    let [front] = &config.doorbells[..] else { panic!("{:?}", config.doorbells) };
    assert_eq!((front.name.as_deref(), front.talk_limit_s), (Some("Front"), Some(60)));
    let mqtt = config.mqtt.unwrap();
    assert_eq!((mqtt.url.unwrap().host.as_str(), mqtt.base_topic.as_str()), ("192.168.1.5", "bells"));
    assert_eq!(config.media.addresses.len(), 1);
    assert_eq!(config.log_level, Some(LogLevel::Debug));
}

/// A cleared field comes as an empty text from some versions of the form, and not at all from others.
#[test]
fn a_field_that_was_cleared_is_as_one_that_was_never_filled_in() {
    let texts = ["name", "unlock", "garage", "unlock_secret", "ring_topic", "ring_payload", "address"];
    let mut entry = json!({"id": "wyze_d03f27a1b2c3"});
    for text in texts {
        entry[text] = json!("");
    }
    let config = read(&json!({
        "doorbells": [entry],
        "mqtt": {"url": "", "discovery_prefix": "", "base_topic": ""},
        "media": {"addresses": ["", "192.0.2.1"]},
        "http": {"names": [""], "origins": [""]},
        "go2rtc": {"url": "", "username": "", "password": "", "prefix": "", "advertise_url": ""},
        "say": {"engine": "", "language": "", "allow": [""]},
    }))
    .unwrap();
    let [front] = &config.doorbells[..] else { panic!("{:?}", config.doorbells) };
    assert!(front.name.is_none() && front.unlock.is_none() && front.garage.is_none() && front.unlock_secret.is_none());
    assert!(front.ring_topic.is_none() && front.ring_payload.is_none() && front.address.is_none());
    assert!(config.mqtt.unwrap().url.is_none());
    assert_eq!(config.media.addresses.len(), 1);
    assert!(config.http.names.is_empty());
    assert!(config.say.engine.is_none() && config.say.language.is_none() && config.say.allow.is_empty());
}

#[test]
fn in_a_file_nothing_between_quotes_is_still_a_mistake() {
    let said =
        config::parse("doorbells: [{id: wyze_d03f27a1b2c3, name: \"\"}]", "doorstep.yaml").unwrap_err().to_string();
    assert!(said.contains("doorbells[0].name: a name of the wrong length"), "{said}");
}

#[test]
fn each_mistake_is_told_by_the_name_that_the_owner_sees() {
    let secret = "4f6b0c7d9e2a815346fb7cd02e918a5d";
    let two = |first: Value, second: Value| json!({"doorbells": [first, second]});
    let cases: &[(Value, &str)] = &[
        (
            json!({"doorbells": [{"id": "Front Door"}]}),
            "doorbells[0].id: not an id; expected 1 to 64 characters of a-z, 0-9 and `_`",
        ),
        (json!({"doorbells": [{"id": ""}]}), "doorbells[0].id: missing; expected 1 to 64 characters"),
        (
            two(json!({"id": "wyze_a"}), json!({"id": "wyze_a"})),
            "doorbells[1].id: an entry before this one has the same",
        ),
        (
            doorbell(&json!({"name": "a".repeat(65)})),
            "doorbells[0].name: a name of the wrong length; expected a name of 1 to 64 characters",
        ),
        (doorbell(&json!({"name": "Front\nDoor"})), "doorbells[0].name: a name with a line break"),
        (doorbell(&json!({"unlock": "Front lock"})), "doorbells[0].unlock: not an id; expected the id of a lock"),
        (doorbell(&json!({"unlock": "self"})), "doorbells[0].unlock: only a doorbell on AWS KVS"),
        (
            two(json!({"id": "wyze_a", "unlock": "wyze_lock"}), json!({"id": "wyze_b", "unlock": "wyze_lock"})),
            "doorbells[1].unlock: an entry before this one opens the same lock",
        ),
        (doorbell(&json!({"opener": "lock"})), "doorbells[0].opener: there is no `unlock: self` beside it"),
        (doorbell(&json!({"garage": "self"})), "doorbells[0].garage: no doorbell is a garage door"),
        (
            doorbell(&json!({"garage": "The garage"})),
            "doorbells[0].garage: not an id; expected the id of a garage door",
        ),
        (
            doorbell(&json!({"unlock": "vivint_7_61", "garage": "vivint_7_61"})),
            "doorbells[0].garage: another `garage` or `unlock` opens the same door",
        ),
        (
            doorbell(&json!({"unlock": "wyze_lock", "unlock_secret": "short"})),
            "doorbells[0].unlock_secret: too short; expected 32 or more random characters",
        ),
        (
            doorbell(&json!({"unlock": "wyze_lock", "unlock_secret": "change-me-change-me-change-me-change-me"})),
            "doorbells[0].unlock_secret: looks like a sample",
        ),
        (
            doorbell(&json!({"unlock": "wyze_lock", "unlock_secret": "4f6b0c7d9e2a8153 46fb7cd02e918a5d"})),
            "doorbells[0].unlock_secret: has a character",
        ),
        (
            doorbell(&json!({"unlock_secret": secret})),
            "doorbells[0].unlock_secret: there is no `unlock` or `garage` beside it",
        ),
        (
            doorbell(&json!({"ring_topic": "zigbee2mqtt/+/button"})),
            "doorbells[0].ring_topic: a topic that cannot be published to",
        ),
        (doorbell(&json!({"ring_topic": "doorstep/x/ring"})), "doorbells[0].ring_topic: Doorstep's own topic"),
        (
            doorbell(&json!({"ring_payload": "a".repeat(257)})),
            "doorbells[0].ring_payload: a message of the wrong length",
        ),
        (
            doorbell(&json!({"address": "camera.local"})),
            "doorbells[0].address: not an IP address (names are not looked up)",
        ),
        (doorbell(&json!({"address": "192.168.1.20:0"})), "doorbells[0].address: port 0 is no port"),
        (
            doorbell(&json!({"address": "224.0.0.1"})),
            "doorbells[0].address: an address that belongs to no single machine",
        ),
        (json!({"mqtt": {"url": "192.168.1.5:1883"}}), "mqtt.url: an address without `mqtt://` in front"),
        (json!({"mqtt": {"url": "http://192.168.1.5:1883"}}), "mqtt.url: not a broker's protocol"),
        (
            json!({"mqtt": {"url": "mqtt://me:pass#word@192.168.1.5"}}),
            "mqtt.url: not an address (write `/`, `?`, `#` and `@`",
        ),
        (json!({"mqtt": {"url": "mqtt://:word@192.168.1.5"}}), "mqtt.url: a password without a user"),
        (json!({"mqtt": {"base_topic": "home/#"}}), "mqtt.base_topic: a topic that cannot be published to"),
        (
            json!({"mqtt": {"base_topic": "homeassistant"}}),
            "mqtt.base_topic: `base_topic` and `discovery_prefix` are the same",
        ),
        (json!({"mqtt": {"discovery_prefix": "/ha"}}), "mqtt.discovery_prefix: a topic that cannot be published to"),
        (
            json!({"media": {"addresses": ["192.0.2.1", "my.router.example"]}}),
            "media.addresses[1]: not an IP address; expected the IP address of one machine",
        ),
        (
            json!({"media": {"addresses": ["0.0.0.0"]}}),
            "media.addresses[0]: an address that belongs to no single machine",
        ),
        (json!({"http": {"names": ["https://doorstep.example"]}}), "http.names[0]: not the name of one host"),
        (json!({"http": {"names": ["*.example.com"]}}), "http.names[0]: not the name of one host"),
        (json!({"http": {"origins": ["*"]}}), "http.origins[0]: a `*` would let the pages of many sites in"),
        (json!({"http": {"origins": ["https://a.example/page"]}}), "http.origins[0]: more than a site"),
        (json!({"go2rtc": {"username": "me"}}), "go2rtc.username: there is no `password` beside it"),
        (json!({"go2rtc": {"url": "192.168.1.5:1984"}}), "go2rtc.url: "),
        (json!({"go2rtc": {"prefix": "a b"}}), "go2rtc.prefix: "),
        (
            json!({"say": {"engine": "Piper!"}}),
            "say.engine: not a name that Home Assistant gives; expected an engine of Home Assistant, such as `tts.piper`",
        ),
        (json!({"say": {"language": "de DE"}}), "say.language: not a name that Home Assistant gives"),
        (json!({"say": {"allow": ["http://nas.local/x"]}}), "say.allow[0]: not one host; expected a host"),
    ];
    for (options, expected) in cases {
        let said = read(options).map(|_| options.to_string()).expect_err("wrong options are refused");
        let [line] = said.lines().collect::<Vec<_>>()[..] else { panic!("{options}: {said}") };
        assert!(line.starts_with(&format!("the app's configuration: {expected}")), "{options}:\n{line}\n{expected}");
        assert!(!said.contains(secret) && !said.contains("pass#word"), "{said}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let options = json!({"doorbells": [{"id": "A"}, {"id": "b", "address": "x"}], "mqtt": {"url": "x"}, "media": {"addresses": ["x"]}});
    let said = read(&options).unwrap_err();
    assert_eq!(said.lines().count(), 4, "{said}");
}
