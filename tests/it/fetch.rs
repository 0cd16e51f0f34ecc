//! A file from an address that a stranger has named is fetched from where it may be, whole, or not at all
//! (requirement S18). 127.0.0.1 is the world here, 127.0.0.2 is the inside of the house.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorstep::net::fetch::{FetchError, Fetcher, LookUp};
use doorstep::net::http::HttpError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::Level;
use url::Url;

use crate::support::log::Log;

const WORLD: Ipv4Addr = Ipv4Addr::LOCALHOST;
const HOUSE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const MIB: usize = 1 << 20;

/// What a server does once it has been asked.
#[derive(Clone)]
enum Does {
    /// Sends this and closes.
    Says(Vec<u8>),
    /// Sends this, then zeros for as long as they are taken.
    NeverEnds(String),
    /// Sends this, then one byte at a time.
    Drips(String),
    Nothing,
}

struct Server {
    address: SocketAddr,
    /// The head of each request.
    asked: Arc<Mutex<Vec<String>>>,
    sent: Arc<AtomicUsize>,
}

impl Server {
    async fn start(ip: Ipv4Addr, does: impl Fn(&str) -> Does + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind((ip, 0)).await.unwrap(), does)
    }

    fn on(listener: TcpListener, does: impl Fn(&str) -> Does + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let (asked, sent) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (heads, count, does) = (asked.clone(), sent.clone(), Arc::new(does));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (heads, count, does) = (heads.clone(), count.clone(), does.clone());
                tokio::spawn(async move {
                    let Some(head) = head(&mut stream).await else { return };
                    heads.lock().unwrap().push(head.clone());
                    answer(&mut stream, does(&head), &count).await;
                });
            }
        });
        Self { address, asked, sent }
    }

    /// One that has this file, whatever is asked for.
    async fn with_file(ip: Ipv4Addr, file: &'static [u8]) -> Self {
        Self::start(ip, move |_| Does::Says(ok("", file))).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

async fn answer(stream: &mut TcpStream, does: Does, sent: &AtomicUsize) {
    let (first, rest, pause) = match does {
        Does::Says(bytes) => return drop(stream.write_all(&bytes).await),
        Does::NeverEnds(head) => (head, vec![0; 1 << 16], Duration::ZERO),
        Does::Drips(head) => (head, vec![0], Duration::from_millis(50)),
        Does::Nothing => return std::future::pending().await,
    };
    drop(stream.write_all(first.as_bytes()).await);
    while stream.write_all(&rest).await.is_ok() {
        sent.fetch_add(rest.len(), Ordering::Relaxed);
        tokio::time::sleep(pause).await;
    }
}

fn ok(headers: &str, file: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", file.len());
    [head.as_bytes(), file].concat()
}

fn to(location: &str) -> Does {
    Does::Says(format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes())
}

/// May go to 127.0.0.1; every name is there.
fn fetcher() -> Fetcher {
    looking_up(|_| vec![WORLD.into()])
}

fn looking_up(addresses: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static) -> Fetcher {
    let look_up: LookUp = Arc::new(move |name, port| {
        let found = addresses(&name).into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        Box::pin(async move { Ok(found) })
    });
    Fetcher::new(BTreeSet::from(["127.0.0.1".to_owned()]), Vec::new()).looking_up(look_up)
}

async fn fetch(fetcher: &Fetcher, url: &str) -> Result<bytes::Bytes, FetchError> {
    fetcher.fetch(Url::parse(url).unwrap()).await
}

fn assert_refused(outcome: Result<bytes::Bytes, FetchError>, what: &str) {
    assert!(matches!(outcome, Err(FetchError::Refused { .. })), "{what}: {outcome:?}");
}

#[tokio::test]
async fn a_file_is_fetched_whole_from_a_name_and_from_an_address() {
    let server = Server::with_file(WORLD, b"sound").await;
    let port = server.address.port();
    for url in [server.url("/ding.mp3?a=b#c"), format!("http://nas.test:{port}/ding.mp3")] {
        assert_eq!(fetch(&fetcher(), &url).await.unwrap(), "sound", "{url}");
    }
    let asked = server.asked();
    assert!(asked[0].starts_with("GET /ding.mp3?a=b HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[1].contains(&format!("host: nas.test:{port}\r\n")), "{asked:?}");
    for absent in ["cookie", "referer", "gzip", "authorization"] {
        assert!(!asked.concat().to_ascii_lowercase().contains(absent), "{absent}: {asked:?}");
    }
}

#[tokio::test]
async fn the_inside_of_the_house_is_refused_however_it_is_written() {
    let house = Server::with_file(HOUSE, b"secret").await;
    let port = house.address.port();
    let hosts = [
        "127.0.0.2",
        "127.2",
        "2130706434",
        "0x7f000002",
        "0177.0.0.2",
        "127.0.0.2.",
        "%31%32%37.0.0.2",
        "１２７.0.0.2",
        "[::ffff:127.0.0.2]",
        "[::ffff:7f00:2]",
        "[::127.0.0.2]",
        "[64:ff9b::127.0.0.2]",
        "[2002:7f00:2::]",
        "[::1]",
        "[::]",
        "0.0.0.0",
        "0",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "172.30.32.2",
        "172.30.33.7",
        "[::ffff:172.30.32.2]",
        "[fd0c:ac1e:2100::2]",
        "224.0.0.251",
        "255.255.255.255",
        "[ff02::1]",
    ];
    for host in hosts {
        assert_refused(fetch(&fetcher(), &format!("http://{host}:{port}/")).await, host);
        assert_refused(fetch(&fetcher(), &format!("https://user:word@{host}:{port}/a?b")).await, host);
    }
    for name in ["localhost", "supervisor", "nas.test"] {
        let inside = looking_up(|_| vec![HOUSE.into(), "::1".parse().unwrap(), "172.30.32.2".parse().unwrap()]);
        assert_refused(fetch(&inside, &format!("http://{name}:{port}/")).await, name);
    }
    assert!(house.asked().is_empty(), "{:?}", house.asked());
}

#[tokio::test]
async fn of_several_addresses_only_those_outside_are_tried() {
    let house = Server::with_file(HOUSE, b"secret").await;
    let port = house.address.port();
    let world = Server::on(TcpListener::bind((WORLD, port)).await.unwrap(), |_| Does::Says(ok("", b"sound")));
    let both = looking_up(|_| vec![HOUSE.into(), WORLD.into()]);
    assert_eq!(fetch(&both, &format!("http://nas.test:{port}/")).await.unwrap(), "sound");
    assert_eq!((house.asked().len(), world.asked().len()), (0, 1));
}

#[tokio::test]
async fn what_the_owner_lists_is_fetched_from_the_inside_too() {
    let house = Server::with_file(HOUSE, b"sound").await;
    let port = house.address.port();
    let listing = |allowed: &str| Fetcher::new(BTreeSet::from([allowed.to_owned()]), vec![port]);
    for allowed in ["127.0.0.2".to_owned(), format!("127.0.0.2:{port}")] {
        assert_eq!(fetch(&listing(&allowed), &house.url("/")).await.unwrap(), "sound", "{allowed}");
    }
    let look_up: LookUp = Arc::new(|_, port| Box::pin(async move { Ok(vec![(HOUSE, port).into()]) }));
    for allowed in ["nas.test".to_owned(), format!("nas.test:{port}"), "127.0.0.2".to_owned()] {
        let listing = listing(&allowed).looking_up(look_up.clone());
        assert_eq!(fetch(&listing, &format!("http://NAS.test:{port}/")).await.unwrap(), "sound", "{allowed}");
    }
    for other in ["127.0.0.3", "127.0.0.2:1", "127.0.0", "nas.test:1", "test", "s.test"] {
        let listing = listing(other).looking_up(look_up.clone());
        assert_refused(fetch(&listing, &house.url("/")).await, other);
        assert_refused(fetch(&listing, &format!("http://nas.test:{port}/")).await, other);
    }
}

#[tokio::test]
async fn our_own_listeners_are_not_fetched_from_under_any_address_of_this_machine() {
    let own = if_addrs::get_if_addrs().unwrap().into_iter().map(|interface| interface.ip());
    let Some(ip) = own.filter(|ip| ip.is_ipv4() && !ip.is_loopback()).find(|ip| {
        // Some machines have no other network.
        !matches!(ip, IpAddr::V4(ip) if ip.is_link_local())
    }) else {
        return println!("skipped: this machine has no address but its loopback");
    };
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server::on(listener, |_| Does::Says(ok("", b"page")));
    let guarded = Fetcher::new(BTreeSet::new(), vec![port]);
    assert_refused(fetch(&guarded, &server.url("/")).await, "our own port");
    assert!(server.asked().is_empty());
    let other = Fetcher::new(BTreeSet::new(), vec![port + 1]);
    assert_eq!(fetch(&other, &server.url("/")).await.unwrap(), "page", "a household's server on this machine");
}

#[tokio::test]
async fn only_http_is_spoken() {
    for url in ["file:///etc/passwd", "ftp://127.0.0.1/", "data:audio/wav;base64,AA", "gopher://127.0.0.1/", "ws://a/"]
    {
        let outcome = fetch(&fetcher(), url).await;
        assert_eq!(outcome, Err(FetchError::Scheme), "{url}");
    }
    let server = Server::start(WORLD, |_| to("file:///etc/passwd")).await;
    assert_eq!(fetch(&fetcher(), &server.url("/")).await, Err(FetchError::Scheme));
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_the_address_itself_could_not() {
    let house = Server::with_file(HOUSE, b"secret").await;
    let port = house.address.port();
    for inside in [
        house.url("/"),
        format!("//127.0.0.2:{port}/"),
        format!("http://[::ffff:127.0.0.2]:{port}/"),
        format!("http://inside.test:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        let world = Server::start(WORLD, {
            let inside = inside.clone();
            move |_| to(&inside)
        });
        let names = looking_up(|name| vec![if name == "inside.test" { HOUSE.into() } else { WORLD.into() }]);
        assert_refused(fetch(&names, &world.await.url("/")).await, &inside);
    }
    assert!(house.asked().is_empty(), "{:?}", house.asked());
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    let server = Server::start(WORLD, |head| match head.split_whitespace().nth(1) {
        Some("/4") => to("3"),
        Some("/3") => to("/2"),
        Some("/2") => to("1?x"),
        Some("/1?x") => to("./0"),
        Some("/nowhere") => Does::Says(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n".to_vec()),
        _ => Does::Says(ok("", b"sound")),
    });
    let server = server.await;
    assert_eq!(fetch(&fetcher(), &server.url("/3")).await.unwrap(), "sound");
    assert_eq!(server.asked().len(), 4);
    for path in ["/4", "/nowhere"] {
        let outcome = fetch(&fetcher(), &server.url(path)).await;
        assert!(matches!(outcome, Err(FetchError::Redirects { .. })), "{path}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_gone_to_where_it_was_looked_at() {
    let house = Server::with_file(HOUSE, b"secret").await;
    let port = house.address.port();
    let world = Server::on(TcpListener::bind((WORLD, port)).await.unwrap(), |head| match head.contains("GET /again") {
        true => to("/"),
        false => Does::Says(ok("", b"sound")),
    });
    let answers = |first: IpAddr, then: IpAddr| {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let fetcher = looking_up(move |_| vec![if count.fetch_add(1, Ordering::Relaxed) == 0 { first } else { then }]);
        (fetcher, asked)
    };
    let url = format!("http://rebinding.test:{port}/");
    let (fetcher, asked) = answers(WORLD.into(), HOUSE.into());
    assert_eq!(fetch(&fetcher, &url).await.unwrap(), "sound");
    assert_eq!(asked.load(Ordering::Relaxed), 1, "the name is looked up once");
    let (fetcher, _) = answers(HOUSE.into(), WORLD.into());
    assert_refused(fetch(&fetcher, &url).await, "the first answer is what counts");
    // A redirect to the same name is looked at anew.
    let (fetcher, asked) = answers(WORLD.into(), HOUSE.into());
    assert_refused(fetch(&fetcher, &format!("{url}again")).await, "after a redirect");
    assert_eq!((asked.load(Ordering::Relaxed), house.asked().len(), world.asked().len()), (2, 0, 2));
}

#[tokio::test]
async fn a_stream_without_end_is_cut_at_ten_mebibytes() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"] {
        let server = Server::start(WORLD, move |_| Does::NeverEnds(head.to_owned())).await;
        let outcome = fetch(&fetcher(), &server.url("/")).await;
        assert!(matches!(outcome, Err(FetchError::TooLarge { .. })), "{outcome:?}");
        // What is on its way in the sockets comes on top.
        let sent = server.sent.load(Ordering::Relaxed);
        assert!(sent < 24 * MIB, "{sent} bytes were taken");
    }
    let most = vec![7; 10 * MIB];
    let more = [&most[..], &[7]].concat();
    let server =
        Server::start(WORLD, move |head| Does::Says(ok("", if head.contains("/more") { &more } else { &most })));
    let server = server.await;
    assert_eq!(fetch(&fetcher(), &server.url("/")).await.unwrap().len(), 10 * MIB);
    let outcome = fetch(&fetcher(), &server.url("/more")).await;
    assert!(matches!(outcome, Err(FetchError::TooLarge { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_length_that_is_a_lie_gives_what_was_announced_or_nothing() {
    let server = Server::start(WORLD, |head| {
        let length = if head.contains("/less") { 100 } else { 3 };
        Does::Says(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nsound").into_bytes())
    });
    let server = server.await;
    assert_eq!(fetch(&fetcher(), &server.url("/more")).await.unwrap(), "sou");
    let outcome = fetch(&fetcher(), &server.url("/less")).await;
    assert!(matches!(outcome, Err(FetchError::Http(HttpError::BrokenOff { .. }))), "{outcome:?}");
}

#[tokio::test]
async fn whoever_drips_or_says_nothing_is_not_waited_for() {
    for does in [Does::Nothing, Does::Drips(String::new()), Does::Drips("HTTP/1.1 200 OK\r\n\r\n".to_owned())] {
        let server = Server::start(WORLD, move |_| does.clone()).await;
        let outcome = fetch(&fetcher().within(Duration::from_millis(700)), &server.url("/")).await;
        assert!(
            matches!(outcome, Err(FetchError::Http(HttpError::TimedOut { .. } | HttpError::BrokenOff { .. }))),
            "{outcome:?}"
        );
    }
    // Each redirect in time, all of them not.
    let server = Server::start(WORLD, |_| to("/")).await;
    let slow: LookUp = Arc::new(|_, port| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Ok(vec![(WORLD, port).into()])
        })
    });
    let fetcher = fetcher().looking_up(slow).within(Duration::from_millis(700));
    let outcome = fetch(&fetcher, &format!("http://slow.test:{}/", server.address.port())).await;
    assert!(matches!(outcome, Err(FetchError::Http(HttpError::TimedOut { .. }))), "{outcome:?}");
}

#[tokio::test]
async fn a_compressed_file_is_refused_before_it_is_read() {
    let server = Server::start(WORLD, |head| match head.contains("/bomb") {
        true => Does::NeverEnds("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n".to_owned()),
        false => Does::Says(ok("content-encoding: Identity\r\n", b"sound")),
    });
    let server = server.await;
    let outcome = fetch(&fetcher(), &server.url("/bomb")).await;
    assert!(matches!(outcome, Err(FetchError::Http(HttpError::Compressed { .. }))), "{outcome:?}");
    assert_eq!(fetch(&fetcher(), &server.url("/")).await.unwrap(), "sound");
}

#[tokio::test]
async fn a_login_stays_with_its_host_and_no_error_or_log_shows_more_than_the_host() {
    let (log, _logging) = Log::capture(Level::TRACE);
    let other = Server::start(WORLD, |_| Does::Says(b"HTTP/1.1 404 Not Found\r\n\r\ncanary-body".to_vec())).await;
    let there = format!("http://other.test:{}/canary-path-2?canary-query-2", other.address.port());
    let own = Server::start(WORLD, move |head| match head.contains("GET /first") {
        true => to("/second"),
        false => to(&there),
    });
    let own = own.await;
    let url = format!("http://me:p%40ss-canary@nas.test:{}/first?canary-query", own.address.port());
    let said = fetch(&fetcher(), &url).await.unwrap_err();
    assert_eq!(said.to_string(), format!("`other.test:{}` answered 404", other.address.port()));
    let asked = own.asked();
    // `me:p@ss-canary`
    let login = "authorization: Basic bWU6cEBzcy1jYW5hcnk=";
    assert!(asked.len() == 2 && asked.iter().all(|head| head.contains(login)), "{asked:?}");
    assert!(!other.asked()[0].to_ascii_lowercase().contains("authorization"), "{:?}", other.asked());
    log.holds_none_of(&["canary", "bWU6cEBzcy1jYW5hcnk"]);
}

#[tokio::test]
async fn whoever_is_not_there_is_told_of_by_name() {
    let port = {
        let listener = TcpListener::bind((WORLD, 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let said = fetch(&fetcher(), &format!("http://nas.test:{port}/x?canary")).await.unwrap_err().to_string();
    assert!(said.starts_with(&format!("`nas.test:{port}` cannot be reached (")) && !said.contains("canary"), "{said}");
    let nowhere = looking_up(|_| Vec::new());
    let said = fetch(&nowhere, "http://nas.test/x").await.unwrap_err().to_string();
    assert_eq!(said, "`nas.test` cannot be reached (its name has no address)");
}
