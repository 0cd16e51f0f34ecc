//! One function for each thing that people and their programs send: a configuration, a command over MQTT, a
//! command over HTTP. It must not panic, and what it reads must mean the same when it is written plainly.

use doorstep::config::{self, Position};
use doorstep::http::Switch;
use doorstep::mqtt::Order;

/// Every mistake stands at a place that the text has.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Err(errors) = config::parse(text, "doorstep.yaml") else { return };
    assert!(!errors.mistakes.is_empty());
    for Position { line, column } in errors.mistakes.iter().filter_map(|mistake| mistake.at) {
        assert!(line >= 1 && line <= text.split(['\n', '\r']).count(), "{errors}");
        assert!(column >= 1 && column <= text.chars().count() + 1, "{errors}");
    }
    drop(errors.to_string());
}

pub fn mqtt_command(data: &[u8]) {
    if let Ok(order) = Order::parse(data) {
        let plain = if order.on { "ON" } else { "OFF" };
        assert_eq!(Order::parse(plain.as_bytes()).map(|order| order.on), Ok(order.on));
        assert!(order.id.to_string().len() < 1024, "an answer could be made to grow");
    }
}

pub fn http_command(data: &[u8]) {
    if let Ok(Switch { on }) = serde_json::from_slice(data) {
        let again: Switch = serde_json::from_str(&format!(r#"{{"on":{on}}}"#)).expect("its own words");
        assert_eq!(again.on, on);
    }
}
