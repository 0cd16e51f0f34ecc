//! A real mosquitto of the test's own, and its command-line clients as independent witnesses.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use doorstep::config::MqttUrl;
use doorstep::mqtt::Broker;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A broker; killed when dropped.
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    folder: TempDir,
    child: Child,
}

impl Mosquitto {
    /// Fails where there is no mosquitto: what nobody looked at must not count as passed.
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), "allow_anonymous true").await
    }

    /// With one user.
    pub(crate) async fn start_for(user: &str, password: &str) -> Self {
        Self::start_with_user(user, password, "allow_anonymous false").await
    }

    /// With one user; whoever names none is let in, too, as witnesses do.
    pub(crate) async fn start_knowing(user: &str, password: &str) -> Self {
        Self::start_with_user(user, password, "allow_anonymous true").await
    }

    /// What it retains, and what it has taken over for a session that is away, outlives a termination.
    pub(crate) async fn start_persistent() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = folder.path().display();
        let extra =
            format!("allow_anonymous true\npersistence true\npersistence_location {location}/\nmax_queued_messages 0");
        Self::start_in(folder, &extra).await
    }

    async fn start_with_user(user: &str, password: &str, others: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwords");
        hash(&file, user, password);
        Self::start_in(folder, &format!("{others}\npassword_file {}", file.display())).await
    }

    /// From its next start on, or once it was told to look, this is its one user.
    pub(crate) fn change_user(&self, user: &str, password: &str) {
        hash(&self.path("passwords"), user, password);
    }

    /// With further lines of configuration.
    pub(crate) async fn start_in(folder: TempDir, extra: &str) -> Self {
        let port = free_port();
        let config = format!(
            "listener {port} 127.0.0.1\n{extra}\nuser root\nset_tcp_nodelay true\nlog_type all\n\
             log_dest file {}/log\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("conf"), config).unwrap();
        let child = spawn(&folder);
        let broker = Self { port, folder, child };
        broker.accepts().await;
        broker
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What its log says by now.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) async fn logs(&self, what: &str) {
        until(what, || self.log().contains(what)).await;
    }

    /// How clients find it.
    pub(crate) fn settings(&self) -> Broker {
        settings(self.port)
    }

    /// As a crash: nothing is said to anybody, and what it retained is lost.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As `systemctl stop`.
    pub(crate) fn terminate(&mut self) {
        self.signal("-TERM");
        self.child.wait().unwrap();
    }

    /// As `systemctl reload`: has it look at its users again.
    pub(crate) fn reload(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(&self.folder);
        self.accepts().await;
    }

    async fn accepts(&self) {
        until("mosquitto accepts", || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()).await;
    }

    /// Publishes with mosquitto_pub; `options` are its own (`-r`, `-q 1`).
    pub(crate) fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, options: &[&str]) {
        let body = if payload.as_ref().is_empty() { "-n" } else { "-s" };
        let mut child = self.client("mosquitto_pub").args(["-t", topic, body]).args(options).spawn().unwrap();
        child.stdin.take().unwrap().write_all(payload.as_ref()).unwrap();
        assert!(child.wait().unwrap().success(), "mosquitto_pub failed");
    }

    /// Publishes `payload` on each topic over one connection, by hand: a program each takes too long for many. Returns
    /// once the broker has them all.
    pub(crate) fn publish_on_each<'a>(&self, topics: impl Iterator<Item = &'a str>, payload: &str, retain: bool) {
        let mut packets = b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0".to_vec();
        for topic in topics {
            let length = 2 + topic.len() + payload.len();
            assert!(length < 1 << 14, "a longer packet than this writes");
            packets.extend([0x30 | u8::from(retain), 0x80 | (length & 0x7f) as u8, (length >> 7) as u8]);
            packets.extend((topic.len() as u16).to_be_bytes());
            packets.extend([topic, payload].concat().bytes());
        }
        packets.extend(b"\xc0\0");
        let mut broker = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        broker.write_all(&packets).unwrap();
        let mut answers = [0; 6];
        broker.read_exact(&mut answers).unwrap();
        assert_eq!(&answers, b"\x20\x02\0\0\xd0\0", "CONNACK and PINGRESP");
    }

    /// Subscribes `client_id` at QoS 1 in a session that outlives its connection, and leaves.
    pub(crate) fn leave_session(&self, client_id: &str, topic: &str) {
        let arguments = ["-c", "-i", client_id, "-q", "1", "-t", topic, "-E"];
        let mut child = self.client("mosquitto_sub").args(arguments).spawn().unwrap();
        assert!(child.wait().unwrap().success(), "mosquitto_sub failed");
    }

    /// The one message that such a session holds.
    pub(crate) fn kept_for(&self, client_id: &str, topic: &str) -> String {
        let arguments = ["-c", "-i", client_id, "-q", "1", "-t", topic, "-C", "1", "-N", "-W", "10"];
        let got = self.client("mosquitto_sub").args(arguments).output().unwrap();
        String::from_utf8(got.stdout).unwrap()
    }

    /// What is retained on `topic`, as it is.
    pub(crate) fn retained_bytes(&self, topic: &str) -> Option<Vec<u8>> {
        let got = self.client("mosquitto_sub").args(["-t", topic, "-C", "1", "-N", "-W", "1"]).output().unwrap();
        got.status.success().then_some(got.stdout)
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).stdin(Stdio::piped());
        command
    }

    /// Listens to `filter` with mosquitto_sub, which shows retain and QoS as they were published.
    pub(crate) async fn listen(&self, filter: &str) -> Witness {
        Witness::of_5(self.port, filter).await
    }

    /// The same in a session that outlives the broker's restarts, if that is a persistent one.
    pub(crate) async fn listen_through_restarts(&self, filter: &str) -> Witness {
        Witness::start(self.port, filter, &["-c", "-i", "witness"]).await
    }

    /// What a newcomer gets for `filter`: everything retained, sorted by topic.
    pub(crate) async fn retained(&self, filter: &str) -> Vec<Heard> {
        let mut witness = Witness::of_5(self.port, filter).await;
        let mut all = witness.until_fence().await;
        all.retain(|heard| heard.retain);
        all.sort_by(|a, b| a.topic.cmp(&b.topic));
        all
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hash(file: &Path, user: &str, password: &str) {
    let hashed = Command::new("mosquitto_passwd").arg("-b").arg("-c").arg(file).args([user, password]).status();
    assert!(hashed.expect(INSTALL).success(), "mosquitto_passwd failed");
}

const INSTALL: &str = "install mosquitto and mosquitto-clients";

fn spawn(folder: &TempDir) -> Child {
    let output = File::create(folder.path().join("output")).unwrap();
    let conf = folder.path().join("conf");
    Command::new("mosquitto")
        .arg("-c")
        .arg(conf)
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .expect(INSTALL)
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn settings(port: u16) -> Broker {
    Broker::At(url(port))
}

pub(crate) fn url(port: u16) -> MqttUrl {
    MqttUrl::parse(&format!("mqtt://127.0.0.1:{port}")).unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never came: {what}");
}

/// One message as published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payload: String,
}

impl Heard {
    /// A line as `FORMAT` asks for it. What is no text, as a picture, is heard as far as it is one.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(4, '|');
        let (topic, qos, retain) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?, fields.next()? == "1");
        let payload = from_hex(fields.next()?)?;
        Some(Self { topic, qos, retain, payload: String::from_utf8_lossy(&payload).into_owned() })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|_| panic!("no JSON: {self}"))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

impl fmt::Display for Heard {
    /// `topic|qos|retain|payload`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}|{}", self.topic, self.qos, u8::from(self.retain), self.payload)
    }
}

/// Topic, QoS, retain and the payload in hex: whatever it holds, one message is one line.
const FORMAT: &str = "%t|%q|%r|%x";

/// Messages on it only tell that everything published before has come through.
const FENCE: &str = "test/fence";

fn publish_fence(port: u16, payload: &str, options: &[&str]) {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", FENCE, "-m", payload, "-q", "1"]).args(options);
    assert!(command.status().unwrap().success(), "mosquitto_pub failed");
}

/// A running mosquitto_sub.
pub(crate) struct Witness {
    port: u16,
    _child: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Heard before the subscription was known to stand.
    early: VecDeque<Heard>,
    fences: u32,
}

impl Witness {
    /// Shows retain flags as they were published, which takes MQTT 5.
    async fn of_5(port: u16, filter: &str) -> Self {
        Self::start(port, filter, &["-V", "mqttv5", "--retain-as-published"]).await
    }

    /// For brokers that know no MQTT 5; live messages never show a retain flag.
    pub(crate) async fn of_3_1_1(port: u16, filter: &str) -> Self {
        Self::start(port, filter, &[]).await
    }

    async fn start(port: u16, filter: &str, options: &[&str]) -> Self {
        // Retained, and so heard as soon as the subscription stands.
        publish_fence(port, "up", &["-r"]);
        let mut child = tokio::process::Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "2"])
            .args(options)
            .args(["-F", FORMAT, "-t", FENCE, "-t", filter])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect(INSTALL);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut witness = Self { port, _child: child, lines, early: VecDeque::new(), fences: 0 };
        loop {
            match witness.next_line().await {
                heard if heard.topic == FENCE => return witness,
                heard => witness.early.push_back(heard),
            }
        }
    }

    async fn next_line(&mut self) -> Heard {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.expect("mosquitto_sub heard nothing more").unwrap().expect("mosquitto_sub has ended");
        Heard::parse(&line).unwrap_or_else(|| panic!("not as asked for: {line}"))
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Heard {
        if let Some(early) = self.early.pop_front() {
            return early;
        }
        loop {
            let heard = self.next_line().await;
            if heard.topic != FENCE {
                return heard;
            }
        }
    }

    /// The next message on `topic`; what comes before is passed over.
    pub(crate) async fn next_on(&mut self, topic: &str) -> Heard {
        loop {
            let heard = self.next().await;
            if heard.topic == topic {
                return heard;
            }
        }
    }

    /// The next message of each of these topics, in their order; what else comes is passed over.
    pub(crate) async fn next_of_each<const N: usize>(&mut self, topics: [&str; N]) -> [Heard; N] {
        let mut found = topics.map(|_| None);
        while found.iter().any(Option::is_none) {
            let heard = self.next().await;
            if let Some(at) = topics.iter().position(|topic| *topic == heard.topic) {
                found[at].get_or_insert(heard);
            }
        }
        found.map(Option::unwrap)
    }

    /// Everything that the broker has taken before this call and that was not heard yet.
    pub(crate) async fn until_fence(&mut self) -> Vec<Heard> {
        self.fences += 1;
        let fence = self.fences.to_string();
        publish_fence(self.port, &fence, &[]);
        let mut all = Vec::from(std::mem::take(&mut self.early));
        loop {
            match self.next_line().await {
                heard if heard.topic != FENCE => all.push(heard),
                heard if heard.payload == fence => return all,
                _ => {}
            }
        }
    }
}
