//! Networks that are not as they should be: without IPv4, with an address that nobody answers at, without anybody who
//! looks up names (fault matrix, rows 41 and 42). Each test has a network of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorstep::clock;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::namespace::{inside, replace, sh};
use crate::support::program::Program;
use crate::support::service::{PATIENCE, Page};

/// A name that only this test knows.
const BROKER: &str = "broker.test";
/// A link whose other end takes what comes and answers nobody.
const LINK: &str = "ip link add va type veth peer name vb; ip link set va up; ip link set vb up";

#[tokio::test]
async fn row_41_on_a_network_of_ipv6_alone_the_broker_is_reached_and_the_page_is_served() {
    if !inside("network::row_41_on_a_network_of_ipv6_alone_the_broker_is_reached_and_the_page_is_served") {
        return;
    }
    sh(&format!("{LINK}; ip -6 addr add fd00:41::1/64 dev va nodad"));
    // What this machine says to itself is no network's.
    assert_eq!(sh("ip -4 addr show scope global"), "", "there is IPv4");
    let folder = tempfile::tempdir().unwrap();
    replace(folder.path(), "/etc/hosts", &format!("fd00:41::1 {BROKER}\n"));
    let broker = OnlyAt::start("fd00:41::1");
    for host in ["[fd00:41::1]", BROKER] {
        let house = House::start(&format!("mqtt://{host}:{}", broker.port), "[::1]:0").await;
        assert!(house.page.address.is_ipv6());
        house.broker_is_there_within(Duration::from_secs(3)).await;
        house.ends().await;
    }
}

#[tokio::test]
async fn row_41_a_broker_at_the_address_of_a_link_is_reached_by_its_interface() {
    if !inside("network::row_41_a_broker_at_the_address_of_a_link_is_reached_by_its_interface") {
        return;
    }
    sh(&format!("{LINK}; ip -6 addr add fe80::41/64 dev va nodad"));
    let broker = OnlyAt::start("fe80::41%va");
    let without: SocketAddr = format!("[fe80::41]:{}", broker.port).parse().unwrap();
    assert!(TcpStream::connect(without).await.is_err(), "the interface is of no matter");
    let house = House::start(&format!("mqtt://[fe80::41%va]:{}", broker.port), "127.0.0.1:0").await;
    house.broker_is_there_within(Duration::from_secs(3)).await;
    house.ends().await;
}

/// Not over TLS: the library that speaks MQTT looks the name up itself there, and takes the addresses in their order.
#[tokio::test]
async fn row_41_of_a_broker_with_a_dead_address_the_next_one_is_taken() {
    if !inside("network::row_41_of_a_broker_with_a_dead_address_the_next_one_is_taken") {
        return;
    }
    let dead = "2001:db8::dead";
    sh(&format!(
        "{LINK}; ip -6 addr add 2001:db8::1/64 dev va nodad; \
         ip -6 neigh add {dead} lladdr 02:00:00:00:00:01 dev va nud permanent"
    ));
    let (folder, broker) = (tempfile::tempdir().unwrap(), Mosquitto::start().await);
    replace(folder.path(), "/etc/hosts", &format!("{dead} {BROKER}\n127.0.0.1 {BROKER}\n"));
    let order = sh(&format!("getent ahosts {BROKER}"));
    assert!(order.starts_with(dead), "the dead one is not the first: {order}");
    let silent: SocketAddr = format!("[{dead}]:{}", broker.port).parse().unwrap();
    let tried = timeout(Duration::from_secs(2), TcpStream::connect(silent)).await;
    assert!(tried.is_err(), "it is not silent: {tried:?}");

    let house = House::start(&format!("mqtt://{BROKER}:{}", broker.port), "127.0.0.1:0").await;
    house.broker_is_there_within(Duration::from_secs(3)).await;
    let ended = house.ends().await;
    assert!(!ended.contains("no connection to the MQTT broker"), "{ended}");
}

#[tokio::test]
async fn row_42_without_anybody_who_knows_names_few_are_asked_for_and_all_is_well_soon_after() {
    if inside("network::row_42_without_anybody_who_knows_names_few_are_asked_for_and_all_is_well_soon_after") {
        without_names(Duration::from_secs(12), Duration::ZERO, Duration::from_secs(30)).await;
    }
}

#[tokio::test]
async fn row_42_a_way_that_comes_and_goes_is_used_as_soon_as_it_stays() {
    if inside("network::row_42_a_way_that_comes_and_goes_is_used_as_soon_as_it_stays") {
        flapping(&[Duration::from_millis(300), Duration::from_secs(2), Duration::from_secs(1)]).await;
    }
}

/// The one network there is goes down for each of these times. Within 30 s of the last one the broker is told again what
/// it asks for, and it was told of no more than one connection that was lost.
pub(crate) async fn flapping(downs: &[Duration]) {
    let broker = Mosquitto::start().await;
    let house = House::start(&format!("mqtt://127.0.0.1:{}", broker.port), "127.0.0.1:0").await;
    house.broker_is_there_within(Duration::from_secs(3)).await;
    let there = SocketAddr::from((Ipv4Addr::LOCALHOST, broker.port));
    for down in downs {
        sh("ip link set lo down");
        let tried = timeout(Duration::from_millis(100), TcpStream::connect(there)).await;
        assert!(!matches!(tried, Ok(Ok(_))), "there is a way");
        tokio::time::sleep(*down).await;
        sh("ip link set lo up");
        TcpStream::connect(there).await.expect("there is a way again");
    }
    let begun = clock::now();
    let mut witness = broker.listen("doorstep/status").await;
    witness.next().await;
    loop {
        broker.publish("homeassistant/status", "online", &[]);
        // All that is retained is sent once more, within 3 s.
        if timeout(Duration::from_secs(4), witness.next()).await.is_ok_and(|heard| heard.payload == "online") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", house.program.log());
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let log = house.ends().await;
    let lost = log.lines().filter(|line| line.contains(" WARN ") && line.contains("no connection to the MQTT broker"));
    assert!(lost.count() <= 1, "{log}");
}

/// A house with a broker and two clouds, all by name, while nobody knows names for so long: at most 20 look-ups in any
/// minute that begins after `settled`; when names are known again the broker is reached within 30 s and the clouds
/// `within` that time: after a long while each of them is tried every 30 to 90 s, as it is whatever keeps it away.
pub(crate) async fn without_names(down: Duration, settled: Duration, within: Duration) {
    let (folder, broker) = (tempfile::tempdir().unwrap(), Mosquitto::start().await);
    let clouds = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let [wyze, vivint] = clouds.each_ref().map(|cloud| cloud.local_addr().unwrap().port());
    let names = Names::start().await;
    replace(folder.path(), "/etc/resolv.conf", "nameserver 127.0.0.53\n");
    replace(folder.path(), "/etc/hosts", "127.0.0.1 localhost\n");
    let endpoints = |url: &str, all: &[&str]| {
        all.iter().map(|name| format!("{name}: \"https://{url}\"")).collect::<Vec<_>>().join(", ")
    };
    let accounts = format!(
        "wyze: [{{email: me@example.com, password: p, key_id: k, api_key: k, endpoints: {{{}}}, \
         gwell: {{servers: [], list_servers: []}}}}]\n\
         vivint: [{{username: me@example.com, password: p, endpoints: {{{}, ice_servers: []}}}}]\n",
        endpoints(&format!("wyze.test:{wyze}"), &["auth", "api", "core", "lock", "mars", "device_management"]),
        endpoints(
            &format!("vivint.test:{vivint}"),
            &["identity", "api", "pubnub", "exchange", "identity_toolkit", "secure_token"]
        ),
    );
    let house = House::with(&format!("mqtt://{BROKER}:{}", broker.port), "127.0.0.1:0", &accounts).await;
    tokio::time::sleep(down).await;
    let asked = names.asked();
    println!("look-ups in {down:?}: {asked:?}");
    assert!(
        [BROKER, "wyze.test", "vivint.test"].iter().all(|name| asked.iter().any(|(_, asked)| asked == name)),
        "{asked:?}"
    );
    let most = busiest_minute(asked.iter().map(|(at, _)| *at).filter(|at| *at >= settled));
    assert!(most <= 20, "{most} look-ups in a minute: {asked:?}");

    names.answer_again();
    let begun = clock::now();
    house.broker_is_there_within(Duration::from_secs(30)).await;
    for cloud in &clouds {
        // What is said there is no matter of names.
        let reached = timeout(within.saturating_sub(begun.elapsed()), cloud.accept()).await;
        assert!(reached.is_ok(), "a cloud is away for {:?}: {}", begun.elapsed(), house.program.log());
    }
    println!("all is well {:?} after", begun.elapsed());
    let log = house.ends().await;
    // One line when it begins and one when it is over, of each.
    for what in ["no connection to the MQTT broker", "connected to the MQTT broker"] {
        assert_eq!(log.matches(what).count(), 1, "{what}: {log}");
    }
}

fn busiest_minute(times: impl Iterator<Item = Duration>) -> usize {
    let times: Vec<_> = times.collect();
    let within =
        |from: &Duration| times.iter().filter(|at| (*from..*from + Duration::from_secs(60)).contains(*at)).count();
    times.iter().map(within).max().unwrap_or_default()
}

/// Who is asked for names: `*.test` is this machine, while it answers; then it has failed (SERVFAIL), at once.
struct Names {
    book: Arc<Mutex<Book>>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Book {
    answers: bool,
    /// Questions for an address of IPv4, one a look-up, and when; but for repeats of the same.
    asked: Vec<(Duration, String)>,
    seen: BTreeMap<(u16, String), ()>,
}

impl Names {
    async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 53), 53)).await.unwrap();
        let (book, begun) = (Arc::<Mutex<Book>>::default(), clock::now());
        let kept = book.clone();
        let _serving = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let answer = kept.lock().unwrap().answer(&packet[..length], begun.elapsed());
                let _ = socket.send_to(&answer, from).await;
            }
        }));
        Self { book, _serving }
    }

    fn answer_again(&self) {
        self.book.lock().unwrap().answers = true;
    }

    fn asked(&self) -> Vec<(Duration, String)> {
        self.book.lock().unwrap().asked.clone()
    }
}

impl Book {
    /// RFC 1035 §4: a header of 12 bytes, the name in pieces that say how long they are, the type, the class.
    fn answer(&mut self, question: &[u8], at: Duration) -> Vec<u8> {
        let (mut name, mut rest) = (Vec::new(), &question[12..]);
        while rest[0] != 0 {
            let (piece, tail) = rest[1..].split_at(usize::from(rest[0]));
            name.push(String::from_utf8_lossy(piece).into_owned());
            rest = tail;
        }
        let end = question.len() - rest.len() + 5;
        let (name, of_ipv4) = (name.join("."), rest[1..3] == [0, 1]);
        let id = u16::from_be_bytes([question[0], question[1]]);
        if of_ipv4 && self.seen.insert((id, name.clone()), ()).is_none() {
            self.asked.push((at, name));
        }
        let answers = u8::from(self.answers && of_ipv4);
        let code = if self.answers { 0 } else { 2 };
        let mut answer =
            [&question[..2], &[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0], &question[12..end]].concat();
        if answers == 1 {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
        }
        answer
    }
}

/// A mosquitto that listens at one address.
struct OnlyAt {
    port: u16,
    child: Child,
    _folder: TempDir,
}

impl OnlyAt {
    fn start(address: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), 18_830);
        let conf = folder.path().join("conf");
        std::fs::write(&conf, format!("listener {port} {address}\nallow_anonymous true\nuser root\n")).unwrap();
        let child = Command::new("mosquitto").arg("-c").arg(conf).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { port, child: child.unwrap(), _folder: folder }
    }
}

impl Drop for OnlyAt {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with a broker.
struct House {
    program: Program,
    page: Page,
    _folder: TempDir,
}

impl House {
    async fn start(broker: &str, listen: &str) -> Self {
        Self::with(broker, listen, "").await
    }

    async fn with(broker: &str, listen: &str, accounts: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, data) = (folder.path().join("doorstep.yaml"), folder.path().join("data"));
        let port = if listen.starts_with('[') { 8_555 } else { free_port() };
        let text = format!(
            "mqtt: {{url: \"{broker}\"}}\nhttp: {{listen: \"{listen}\"}}\nmedia: {{port: {port}}}\n\
             go2rtc: {{enabled: false}}\n{accounts}"
        );
        std::fs::write(&file, text).unwrap();
        let places = ["--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
        let mut program = Program::start(["run"].iter().chain(&places));
        let page = Page::at(program.page().await);
        Self { program, page, _folder: folder }
    }

    async fn broker_is_there_within(&self, limit: Duration) {
        let (begun, mut health) = (clock::now(), Value::Null);
        while health["mqtt"] != "connected" {
            assert!(begun.elapsed() < PATIENCE, "{health}; {}", self.program.log());
            health = self.page.get("/health").await.json();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(begun.elapsed() < limit, "connected after {:?}: {}", begun.elapsed(), self.program.log());
    }

    /// What it has logged.
    async fn ends(self) -> String {
        self.program.terminate();
        let ended = self.program.ends().await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        ended.log
    }
}
