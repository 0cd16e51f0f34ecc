//! What is in the signalling database: one JSON tree that many write and watch (vivint reference §7.4, §8).

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tokio::sync::mpsc;

/// Values that wait for a watcher. One that falls further behind is cut off: its queue ends, since a call that
/// misses a message is over anyway.
const QUEUE: usize = 256;

/// The tree; a clone is another handle on it.
///
/// Paths are names between slashes; leading, trailing and double slashes mean nothing. As in the real database, a
/// node without children is not there, so that putting null, `{}` or `[]` deletes, and a list is a node whose
/// children are called `0`, `1`, ….
#[derive(Debug, Clone, Default)]
pub struct Tree {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    root: Value,
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    path: Vec<String>,
    told: Value,
    values: mpsc::Sender<Value>,
}

impl Tree {
    /// Overwrites what is at `path`; null deletes it. Whoever watches has been told when this returns.
    pub fn put(&self, path: &str, value: Value) {
        let mut inner = self.lock();
        inner.put(&names(path), value);
        inner.tell();
    }

    /// Overwrites these children of `path` and leaves its others alone; their names may be paths. Watchers are told
    /// once.
    pub fn merge(&self, path: &str, children: Map<String, Value>) {
        let mut inner = self.lock();
        for (child, value) in children {
            inner.put(&names(&format!("{path}/{child}")), value);
        }
        inner.tell();
    }

    /// Null where nothing is.
    pub fn get(&self, path: &str) -> Value {
        self.lock().get(&names(path)).clone()
    }

    /// The present value at `path`, and then each further one, whole, whether it was written there, above or below.
    pub fn watch(&self, path: &str) -> mpsc::Receiver<Value> {
        let (values, receiver) = mpsc::channel(QUEUE);
        let mut inner = self.lock();
        inner.watchers.retain(|watcher| !watcher.values.is_closed());
        let path = names(path);
        let told = inner.get(&path).clone();
        // The queue is empty.
        let _ = values.try_send(told.clone());
        inner.watchers.push(Watcher { path, told, values });
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, path: &[String], value: Value) {
        put(&mut self.root, path, plain(value));
    }

    fn get(&self, path: &[String]) -> &Value {
        path.iter().fold(&self.root, |node, name| &node[name])
    }

    /// Tells each watcher whose value is another one now, and forgets those who do not listen.
    fn tell(&mut self) {
        let Self { root, watchers } = self;
        watchers.retain_mut(|watcher| {
            let now = watcher.path.iter().fold(&*root, |node, name| &node[name]);
            if *now == watcher.told {
                return !watcher.values.is_closed();
            }
            watcher.told = now.clone();
            watcher.values.try_send(now.clone()).is_ok()
        });
    }
}

fn names(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn put(node: &mut Value, path: &[String], value: Value) {
    let Some((name, rest)) = path.split_first() else {
        *node = value;
        return;
    };
    let mut children = match mem::take(node) {
        Value::Object(children) => children,
        // A value makes way for a child.
        _ => Map::new(),
    };
    let mut child = children.remove(name).unwrap_or_default();
    put(&mut child, rest, value);
    if !child.is_null() {
        children.insert(name.clone(), child);
    }
    *node = if children.is_empty() { Value::Null } else { Value::Object(children) };
}

/// Without what the database does not keep: nulls, empty nodes, lists.
fn plain(value: Value) -> Value {
    let children: Map<String, Value> = match value {
        Value::Object(children) => children,
        Value::Array(items) => items.into_iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        value => return value,
    };
    let kept = children.into_iter().map(|(name, child)| (name, plain(child))).filter(|(_, child)| !child.is_null());
    let kept: Map<String, Value> = kept.collect();
    if kept.is_empty() { Value::Null } else { Value::Object(kept) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(values: &mut mpsc::Receiver<Value>) -> Vec<Value> {
        std::iter::from_fn(|| values.try_recv().ok()).collect()
    }

    #[test]
    fn what_was_put_is_there_and_null_takes_it_away_with_its_empty_parents() {
        let tree = Tree::default();
        tree.put("/groups/1/devices/a/msg", json!({"type": "ice", "none": null, "list": [7, [], 8]}));
        assert_eq!(tree.get("groups/1/devices/a/msg/type/"), "ice");
        assert_eq!(tree.get("groups/1"), json!({"devices": {"a": {"msg": {"type": "ice", "list": {"0": 7, "2": 8}}}}}));
        tree.put("groups/1/devices/a/msg/type/more", json!(1));
        assert_eq!(tree.get("groups/1/devices/a/msg/type"), json!({"more": 1}));
        tree.put("groups/1/devices/a/msg", Value::Null);
        assert_eq!(tree.get(""), Value::Null);
        assert_eq!(tree.get("groups/1/none"), Value::Null);
    }

    #[test]
    fn a_watcher_gets_the_whole_value_whoever_wrote_below_or_above() {
        let tree = Tree::default();
        let mut values = tree.watch("/a/msg");
        tree.put("a/msg", json!({"x": 1, "y": 2}));
        tree.put("a/msg/x", json!(3));
        tree.put("a/other", json!(4));
        tree.put("b", json!(5));
        tree.put("a/msg/x", json!(3));
        let Value::Object(children) = json!({"msg/y": null, "msg/z": 6, "other": 7}) else { unreachable!() };
        tree.merge("a", children);
        tree.put("", Value::Null);
        let expected = [Value::Null, json!({"x": 1, "y": 2}), json!({"x": 3, "y": 2}), json!({"x": 3, "z": 6})];
        assert_eq!(told(&mut values), [&expected[..], &[Value::Null]].concat());
    }

    #[test]
    fn a_watcher_that_does_not_listen_is_cut_off_and_forgotten() {
        let tree = Tree::default();
        let mut slow = tree.watch("a");
        (0..QUEUE).for_each(|round| tree.put("a", json!(round)));
        assert_eq!(told(&mut slow).len(), QUEUE);
        assert!(slow.is_closed(), "it goes on after a value that it missed");
        drop(tree.watch("b"));
        let _other = tree.watch("c");
        assert_eq!(tree.lock().watchers.len(), 1);
    }
}
