//! Who may touch what, and what a value becomes when it is written.

use std::time::UNIX_EPOCH;

use serde_json::{Map, Value, json};

use crate::clock;

/// A path without the slash that requests have before it and pushes have not (§7.5).
pub(super) fn normal(path: &str) -> String {
    path.split('/').filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/")
}

/// Whether members of this system may read and write at `path`.
pub(super) fn is_allowed(path: &str, system: i64) -> bool {
    let below = normal(path);
    let mut names = below.split('/');
    names.next() == Some("groups") && names.next() == Some(&system.to_string()) && names.next().is_some()
}

/// Milliseconds of Unix time.
pub(super) fn now_ms() -> u64 {
    clock::unix_now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// With the server's time where `{".sv": "timestamp"}` stands (§7.4).
pub(super) fn with_server_values(value: Value) -> Value {
    match value {
        Value::Object(fields) if fields.get(".sv") == Some(&json!("timestamp")) => json!(now_ms()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, with_server_values(value))).collect())
        }
        value => value,
    }
}

/// The children that differ, gone ones as null; `None` where the change is no matter of children.
pub(super) fn changed_children(before: &Value, after: &Value) -> Option<Map<String, Value>> {
    let (before, after) = (before.as_object()?, after.as_object()?);
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let new = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    Some(gone.chain(new.map(|(name, value)| (name.clone(), value.clone()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_system_are_kept_to_what_is_below_its_node() {
        for path in ["/groups/7/devices/a/msg", "groups/7/devices", "//groups//7//devices"] {
            assert!(is_allowed(path, 7), "{path}");
        }
        for path in ["/groups/7", "groups/7/", "/groups/70/devices", "/devices/a/msg", "", "/", "groups"] {
            assert!(!is_allowed(path, 7), "{path}");
        }
    }

    #[test]
    fn changes_are_found_child_by_child() {
        let (before, after) = (json!({"a": 1, "b": 2, "c": 3}), json!({"a": 1, "b": {"x": 2}, "d": 4}));
        let changed = changed_children(&before, &after).unwrap();
        assert_eq!(Value::Object(changed), json!({"b": {"x": 2}, "c": null, "d": 4}));
        assert_eq!(changed_children(&Value::Null, &after), None);
    }
}
