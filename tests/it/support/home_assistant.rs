//! Reads a discovery payload as strictly as Home Assistant 2026.11 does: what it would reject, and what it
//! would take but warn about, fails the test.

use serde_json::{Map, Value};

/// Keys that may stand beside `device`, `origin` and `components`; any other rejects the whole device.
const SHARED: [&str; 11] = [
    "availability",
    "availability_mode",
    "availability_topic",
    "availability_template",
    "payload_available",
    "payload_not_available",
    "state_topic",
    "command_topic",
    "qos",
    "encoding",
    "message_expiry_interval",
];
const DEVICE: [&str; 12] = [
    "identifiers",
    "connections",
    "name",
    "manufacturer",
    "model",
    "model_id",
    "serial_number",
    "sw_version",
    "hw_version",
    "suggested_area",
    "configuration_url",
    "via_device",
];

/// Fails unless every entity of the payload would appear, without a warning.
pub(crate) fn accepts(topic: &str, payload: &Value) {
    let levels: Vec<_> = topic.split('/').collect();
    let [_, "device", object, "config"] = levels[..] else { panic!("{topic} is no topic of a device") };
    assert!(is_id(object), "`{object}` is no object id");
    let payload = payload.as_object().expect("an object");
    for key in payload.keys() {
        let known = ["device", "origin", "components"].contains(&key.as_str()) || SHARED.contains(&key.as_str());
        assert!(known, "unknown key `{key}`: the whole device is rejected");
    }
    text(payload["origin"].as_object().expect("no origin: the whole device is rejected"), "name");
    let device = payload["device"].as_object().expect("a device");
    check_device(device);
    check_availability(payload);
    let components = payload["components"].as_object().expect("components");
    assert!(!components.is_empty());
    for (key, component) in components {
        assert!(is_id(key), "`{key}` is no component id");
        check_component(component.as_object().expect("an object"), text(device, "name"));
    }
    let ids: std::collections::BTreeSet<_> = components.values().filter_map(|c| c.get("unique_id")?.as_str()).collect();
    let entities = components.values().filter(|c| c["platform"] != "device_automation").count();
    assert_eq!(ids.len(), entities, "two entities share a unique_id");
}

fn check_device(device: &Map<String, Value>) {
    for key in device.keys() {
        assert!(DEVICE.contains(&key.as_str()), "unknown key `{key}` of the device");
    }
    let identifiers = device["identifiers"].as_array().expect("identifiers");
    assert!(!identifiers.is_empty() && identifiers.iter().all(|id| is_id(id.as_str().expect("text"))));
    let name = text(device, "name");
    assert!(!name.trim().is_empty() && name.len() <= 400 && !name.contains(char::is_control), "{name:?}");
    if let Some(url) = device.get("configuration_url") {
        let url = url::Url::parse(url.as_str().expect("text")).expect("a URL");
        assert!(
            ["http", "https", "homeassistant"].contains(&url.scheme()) && url.has_host(),
            "{url}: the whole device is rejected"
        );
    }
}

fn check_component(component: &Map<String, Value>, device_name: &str) {
    assert!(!component.contains_key("object_id"), "`object_id` is ignored since 2026.4");
    assert!(!component.contains_key("~"), "`~` is not used here");
    let platform = text(component, "platform");
    for (key, value) in component.iter().filter(|(key, _)| key.ends_with("topic")) {
        check_topic(value.as_str().unwrap_or_else(|| panic!("{key} is no text")));
    }
    check_availability(component);
    if platform == "device_automation" {
        assert_eq!(text(component, "automation_type"), "trigger");
        for key in ["type", "subtype", "topic"] {
            text(component, key);
        }
        return;
    }
    text(component, "unique_id");
    if let Some(id) = component.get("default_entity_id") {
        let (domain, object) = id.as_str().and_then(|id| id.split_once('.')).expect("domain.object");
        let right = domain == platform && is_id(object) && object == object.to_lowercase();
        assert!(right && !object.starts_with('_') && !object.ends_with('_'), "{id}");
    }
    let name = text(component, "name");
    assert!(name != device_name && !name.is_empty(), "an entity's name must not repeat the device's");
    if let Some(category) = component.get("entity_category") {
        assert!(category == "diagnostic" || category == "config" && platform != "sensor", "{category}");
    }
    check_platform(platform, component);
}

fn check_platform(platform: &str, component: &Map<String, Value>) {
    let class = component.get("device_class").map(|class| class.as_str().expect("text"));
    match platform {
        "event" => {
            text(component, "state_topic");
            let types: Vec<_> =
                component["event_types"].as_array().expect("types").iter().map(|t| t.as_str().unwrap()).collect();
            assert!(matches!(class, None | Some("doorbell" | "motion" | "button")), "{class:?}");
            assert!(class != Some("doorbell") || types.contains(&"ring"), "a doorbell without `ring`: {types:?}");
            assert!(!types.is_empty());
        }
        "switch" => {
            text(component, "command_topic");
            assert!(matches!(class, None | Some("outlet" | "switch")), "{class:?}");
        }
        "binary_sensor" => {
            text(component, "state_topic");
            assert!(matches!(class, None | Some("connectivity" | "garage_door" | "lock" | "motion")), "{class:?}");
        }
        "sensor" => {
            text(component, "state_topic");
            assert!(matches!(class, None | Some("timestamp")), "{class:?}");
            let state_class = component.get("state_class");
            assert!(state_class.is_none() || class != Some("timestamp"), "a timestamp cannot be measured");
            assert!(state_class.is_none_or(|class| class == "measurement"), "{state_class:?}");
        }
        "button" => {
            text(component, "command_topic");
            assert!(matches!(class, None | Some("identify" | "restart" | "update")), "{class:?}");
        }
        "lock" => {
            text(component, "command_topic");
            text(component, "state_topic");
            assert_eq!(component["optimistic"], false, "an optimistic lock starts as unlocked");
            if component.contains_key("payload_open") {
                assert_eq!(text(component, "payload_open"), "OPEN");
            }
        }
        "cover" => {
            text(component, "command_topic");
            text(component, "state_topic");
            assert_eq!(class, Some("garage"));
            assert_eq!(component["optimistic"], false, "an optimistic cover shows what was asked for");
            assert_eq!(component.get("payload_stop"), Some(&Value::Null), "left out, STOP is sent");
            let template = component["value_template"].as_str().unwrap_or_default();
            assert!(template.contains("'stopped'"), "what stopped while it was closing is shown as closed");
        }
        "camera" => {
            text(component, "topic");
            assert_eq!(class, None, "a camera has no class");
            assert!(!component.contains_key("image_encoding"), "the picture is sent as it is");
        }
        "notify" => {
            text(component, "command_topic");
            assert!(!component.contains_key("state_topic"), "a notify entity has no state");
        }
        "siren" => {
            text(component, "command_topic");
            text(component, "state_topic");
            assert_eq!(component["optimistic"], false, "an optimistic siren stays on");
            assert_eq!(
                (&component["support_duration"], &component["support_volume_set"]),
                (&true.into(), &true.into())
            );
            assert!(!texts(component, "available_tones").is_empty(), "without tones it has none to choose from");
        }
        "select" => {
            text(component, "command_topic");
            text(component, "state_topic");
            assert_eq!(component["optimistic"], false, "an optimistic select shows what was asked for");
            assert!(!texts(component, "options").is_empty(), "there is nothing to select");
        }
        "image" => {
            text(component, "image_topic");
            assert_eq!(text(component, "content_type"), "image/jpeg");
            assert!(!component.contains_key("url_topic") && !component.contains_key("image_encoding"));
        }
        other => panic!("platform `{other}` is not known here"),
    }
}

fn check_availability(config: &Map<String, Value>) {
    let Some(list) = config.get("availability") else { return };
    assert!(!config.contains_key("availability_topic"), "not both");
    for entry in list.as_array().expect("a list") {
        check_topic(entry["topic"].as_str().expect("a topic"));
    }
    if let Some(mode) = config.get("availability_mode") {
        assert!(mode == "all" || mode == "any" || mode == "latest", "{mode}");
    }
}

fn check_topic(topic: &str) {
    let right = topic.chars().all(|c| c.is_ascii_alphanumeric() || "_-/".contains(c));
    assert!(right && !topic.is_empty() && !topic.split('/').any(str::is_empty), "`{topic}` is no topic of ours");
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("`{key}` is missing or no text"))
}

fn texts<'a>(object: &'a Map<String, Value>, key: &str) -> Vec<&'a str> {
    let list = object[key].as_array().unwrap_or_else(|| panic!("`{key}` is no list"));
    list.iter().map(|text| text.as_str().expect("text")).collect()
}
