//! What stands in front of a virtual cloud and answers in its place whatever a test wants, path by path; and an hour
//! that goes by at once. Everything else is the cloud's own answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::mosquitto::until;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Without the query.
    pub(crate) path: String,
    /// The request line and all headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// What the cloud itself has answered.
    answered: Option<Vec<u8>>,
}

/// What is said in place of the cloud.
#[derive(Debug, Clone)]
pub(crate) enum Wrong {
    Says {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// A success that begins and does not end: a piece after each pause.
    Endless {
        headers: Vec<(&'static str, String)>,
        piece: Vec<u8>,
        pause: Duration,
    },
    /// Nothing at all.
    Silence,
    Reset,
    /// The cloud's own answer, told at another date.
    Dated(String),
}

impl Wrong {
    pub(crate) fn json(body: impl ToString) -> Self {
        Self::Says { status: 200, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    pub(crate) fn status(status: u16, header: &[(&'static str, &str)]) -> Self {
        let headers = header.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self::Says { status, headers, body: Vec::new() }
    }
}

type Script = Arc<dyn Fn(&Asked) -> Option<Wrong> + Send + Sync>;

pub(crate) struct CrookedCloud {
    address: SocketAddr,
    script: Arc<Mutex<Option<Script>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: AbortOnDropHandle<()>,
}

/// What the cloud itself has answered to a request, without the head.
fn body(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    answer[end..].to_vec()
}

impl CrookedCloud {
    /// In front of the cloud at this address; honest at first.
    pub(crate) async fn before(cloud: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (script, asked) = (Arc::<Mutex<Option<Script>>>::default(), Arc::<Mutex<Vec<Asked>>>::default());
        let (played, notebook) = (script.clone(), asked.clone());
        let serving = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (played, notebook) = (played.clone(), notebook.clone());
                tokio::spawn(async move {
                    // Who hangs up has had enough.
                    let _hung_up = serve(stream, cloud, &played, &notebook).await;
                });
            }
        };
        Self { address, script, asked, _task: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    pub(crate) fn url(&self) -> Url {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// From now on.
    pub(crate) fn answers(&self, script: impl Fn(&Asked) -> Option<Wrong> + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Some(Arc::new(script));
    }

    /// Says this wherever the path begins so.
    pub(crate) fn says(&self, path: &'static str, wrong: Wrong) {
        self.answers(move |asked| asked.path.starts_with(path).then(|| wrong.clone()));
    }

    pub(crate) fn is_honest_again(&self) {
        *self.script.lock().unwrap() = None;
    }

    /// How many requests have come to paths that begin so.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path.starts_with(path)).count()
    }

    /// How many have come to this very path.
    pub(crate) fn asked_at(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path == path).count()
    }

    pub(crate) fn last(&self, path: &str) -> Asked {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .rfind(|asked| asked.path.starts_with(path))
            .unwrap_or_else(|| panic!("nobody asked {path}"))
            .clone()
    }

    /// The last answer of the cloud itself.
    pub(crate) fn answer(&self, path: &str) -> Vec<u8> {
        let asked = self.asked.lock().unwrap();
        let answers = asked.iter().filter(|asked| asked.path.starts_with(path));
        answers
            .filter_map(|asked| asked.answered.clone())
            .next_back()
            .unwrap_or_else(|| panic!("{path} was not answered"))
    }

    pub(crate) async fn is_asked(&self, path: &str, times: usize) {
        until(&format!("{times} requests to {path}"), || self.asked(path) >= times).await;
    }
}

async fn serve(
    mut stream: TcpStream,
    cloud: SocketAddr,
    script: &Mutex<Option<Script>>,
    notebook: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let asked = request(&mut stream).await?;
    let script = script.lock().unwrap().clone();
    let wrong = script.and_then(|script| script(&asked));
    let place = {
        let mut notebook = notebook.lock().unwrap();
        notebook.push(asked.clone());
        notebook.len() - 1
    };
    match wrong {
        None => {
            let answer = forwarded(cloud, &asked).await?;
            notebook.lock().unwrap()[place].answered = Some(body(&answer));
            stream.write_all(&answer).await
        }
        Some(Wrong::Dated(date)) => stream.write_all(&dated(forwarded(cloud, &asked).await?, &date)).await,
        Some(Wrong::Silence) => std::future::pending().await,
        Some(Wrong::Reset) => SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
        Some(Wrong::Says { status, headers, body }) => {
            stream.write_all(head(status, &headers, Some(body.len())).as_bytes()).await?;
            stream.write_all(&body).await
        }
        Some(Wrong::Endless { headers, piece, pause }) => {
            stream.write_all(head(200, &headers, None).as_bytes()).await?;
            loop {
                stream.write_all(&piece).await?;
                tokio::time::sleep(pause).await;
            }
        }
    }
}

async fn request(stream: &mut TcpStream) -> std::io::Result<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    Ok(Asked { path, body: bytes[end..end + length].to_vec(), head, answered: None })
}

/// The cloud's whole answer, byte for byte. It is told that nothing more is asked, and so ends the connection.
async fn forwarded(cloud: SocketAddr, asked: &Asked) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(cloud).await?;
    let kept = asked.head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head = kept.chain(["connection: close", "", ""]).collect::<Vec<_>>().join("\r\n");
    server.write_all(&[head.as_bytes(), &asked.body].concat()).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

fn dated(answer: Vec<u8>, date: &str) -> Vec<u8> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let kept = head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
    let date = format!("date: {date}");
    let head = kept.chain([&*date, "", ""]).collect::<Vec<_>>().join("\r\n");
    [head.as_bytes(), &answer[end..]].concat()
}

fn head(status: u16, headers: &[(&'static str, String)], length: Option<usize>) -> String {
    let length = length.map(|length| ("content-length", length.to_string()));
    let headers = headers.iter().cloned().chain(length).chain([("connection", "close".to_owned())]);
    let lines = headers.map(|(name, value)| format!("{name}: {value}\r\n"));
    format!("HTTP/1.1 {status} Said\r\n{}\r\n", lines.collect::<String>())
}

/// Lets time go by at once, for everybody in this test.
pub(crate) async fn time_goes_by(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// What this process has in memory, in MiB.
pub(crate) fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1_024
}
