//! `doorstep demo` as a process of its own, on free ports.

use std::net::SocketAddr;

use serde_json::Value;

use super::mosquitto::free_port;
use super::program::Program;

pub(crate) struct Demo {
    pub(crate) program: Program,
    pub(crate) page: SocketAddr,
    /// As the demo shows it.
    pub(crate) broker: String,
    pub(crate) ids: Vec<String>,
}

impl Demo {
    /// With its ports wherever there is room.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let (http, media) = (format!("127.0.0.1:{}", free_port()), free_port().to_string());
        let program = Program::start(["demo", "--http", &http, "--media-port", &media].iter().chain(options));
        Self::ready(program).await
    }

    /// Reads the line that says where everything is.
    pub(crate) async fn ready(mut program: Program) -> Self {
        let line = program.says("`demo ready`", |line| line.starts_with("demo ready")).await;
        let part = |begin: &str| {
            let (_, rest) = line.split_once(begin).unwrap_or_else(|| panic!("no `{begin}` in {line}"));
            rest.split(" · ").next().unwrap().trim().to_owned()
        };
        let page = part("page http://").trim_end_matches('/').parse().unwrap();
        let ids = part("doorbells ").split(' ').map(str::to_owned).collect();
        Self { page, broker: part("broker "), ids, program }
    }

    /// Waits until the doorbell has told this.
    pub(crate) async fn tells(&mut self, id: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let is_it = |line: &str| event(line).is_some_and(|event| event["doorbell"] == id && is_it(&event));
        let line = self.program.says(&format!("{what} of {id}"), is_it).await;
        event(&line).unwrap()
    }

    /// How often the doorbell has told this by now.
    pub(crate) fn told(&self, id: &str, is_it: impl Fn(&Value) -> bool) -> usize {
        let said = self.program.said();
        said.iter().filter_map(|line| event(line)).filter(|event| event["doorbell"] == id && is_it(event)).count()
    }
}

fn event(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}
