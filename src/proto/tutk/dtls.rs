//! DTLS 1.2 with a pre-shared key, as an engine that is handed datagrams and asked for datagrams
//! (docs/protocol/tutk.md §5).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslStream, SslVersion};

use super::Channel;
use super::keys::{PSK_IDENTITY, Psk};
use crate::proto::DecodeError;
use crate::proto::wire::Reader;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// Makes the engine for one channel. Sessions take it so that tests can put in another.
pub type DtlsFactory = Arc<dyn Fn(Role, Channel, &Psk) -> Result<Box<dyn DtlsEndpoint>, DtlsError> + Send + Sync>;

/// The factory that everyone but a test uses.
pub fn openssl() -> DtlsFactory {
    Arc::new(|role, channel, psk| Ok(Box::new(OpensslDtls::new(role, channel, psk)?)))
}

/// Why a DTLS conversation cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DtlsError {
    #[error("the peer refused the pre-shared key")]
    KeyRefused,
    #[error("the peer closed the DTLS session")]
    Closed,
    #[error("the DTLS handshake took more than {MAX_HANDSHAKE_BYTES} bytes")]
    HandshakeTooLong,
    #[error("DTLS: {0}")]
    Failed(String),
}

/// One end of one DTLS conversation. Both queues are emptied by the caller after each call that takes
/// `now`.
pub trait DtlsEndpoint: Send {
    /// A datagram from the peer. Foreign, repeated or damaged records are dropped without an error.
    fn on_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DtlsError>;

    /// Begins the handshake, and later repeats what may have been lost.
    fn on_timeout(&mut self, now: Instant) -> Result<(), DtlsError>;

    /// When `on_timeout` is due; `None` once established.
    fn deadline(&self) -> Option<Instant>;

    /// Protects one message of at most 1150 bytes.
    ///
    /// # Errors
    /// Before the handshake is done, and after the end.
    fn send(&mut self, message: &[u8]) -> Result<(), DtlsError>;

    /// Queues the farewell (close_notify).
    fn close(&mut self);

    /// The next datagram for the peer.
    fn poll_datagram(&mut self) -> Option<Vec<u8>>;

    /// The next message from the peer.
    fn poll_message(&mut self) -> Option<Vec<u8>>;

    fn is_established(&self) -> bool;

    /// Whether the peer answered far enough for the key to have been put to use. A handshake that fails
    /// after that most likely had the wrong key: peers drop what they cannot decrypt in silence.
    fn key_was_used(&self) -> bool;
}

/// ECDHE-PSK-CHACHA20-POLY1305 is 0xCCAC, PSK-AES128-CBC-SHA256 is 0x00AE.
const SUITE_MAIN: &str = "ECDHE-PSK-CHACHA20-POLY1305";
const SUITE_BACK: &str = "PSK-AES128-CBC-SHA256";
/// The reference client serves only 0x00AE on the back channel. Cameras may come to offer the other one.
const SUITES_BACK_SERVER: &str = "PSK-AES128-CBC-SHA256:ECDHE-PSK-CHACHA20-POLY1305";
const GROUPS: &str = "X25519:P-256:P-384";
const MTU: u32 = 1200;
/// SSL_OP_NO_EXTENDED_MASTER_SECRET, which the crate has no name for: cameras do not speak it.
const NO_EXTENDED_MASTER_SECRET: u64 = 1;
/// SSL_OP_NO_ENCRYPT_THEN_MAC: with it, OpenSSL ends a session over one damaged record of the CBC suite.
const NO_ENCRYPT_THEN_MAC: u64 = 1 << 19;
/// What every encrypted record of either suite has at least.
const TAG_LEN: usize = 16;
/// The largest datagram that either side takes.
const MAX_RECORD: usize = 2048;

/// How long a flight may go unanswered before it is sent again.
const REPEAT: Duration = Duration::from_millis(300);
/// What a handshake may make us read (reliability S21).
const MAX_HANDSHAKE_BYTES: usize = 32 * 1024;
/// The largest plaintext of a DTLS record.
const MAX_MESSAGE: usize = 16 * 1024;

/// [`DtlsEndpoint`] over OpenSSL with two datagram queues for a socket.
///
/// OpenSSL's own retransmission timer runs on the wall clock and starts at one second. In front of it
/// stands ours, which runs on the caller's time: it sends the last flight again as it was. The peer's
/// replay window drops what it already has.
pub struct OpensslDtls {
    stream: SslStream<Queues>,
    messages: VecDeque<Vec<u8>>,
    buffer: Box<[u8]>,
    key_used: Arc<AtomicBool>,
    established: bool,
    handshake_bytes: usize,
    role: Role,
    last_flight: Vec<Vec<u8>>,
    /// Before this, nothing is sent again.
    repeat_at: Option<Instant>,
}

impl OpensslDtls {
    /// # Errors
    /// When OpenSSL lacks what is needed, which does not depend on the peer.
    pub fn new(role: Role, channel: Channel, psk: &Psk) -> Result<Self, DtlsError> {
        let key_used = Arc::new(AtomicBool::new(false));
        let context = context(role, channel, psk, &key_used).map_err(|stack| failed(&stack))?;
        let stream = new_stream(&context, role).map_err(|stack| failed(&stack))?;
        Ok(Self {
            stream,
            messages: VecDeque::new(),
            buffer: vec![0; MAX_MESSAGE].into(),
            key_used,
            established: false,
            handshake_bytes: 0,
            role,
            last_flight: Vec::new(),
            repeat_at: None,
        })
    }

    fn handshake(&mut self, now: Instant) -> Result<(), DtlsError> {
        let sent_before = self.stream.get_ref().outgoing.len();
        match self.stream.do_handshake() {
            Ok(()) => self.established = true,
            Err(error) if error.code() == ErrorCode::WANT_READ => {}
            Err(error) => return Err(classify(&error)),
        }
        let flight: Vec<_> = self.stream.get_ref().outgoing.iter().skip(sent_before).cloned().collect();
        if !flight.is_empty() {
            self.last_flight = flight;
            self.repeat_at = Some(now + REPEAT);
        }
        Ok(())
    }

    fn read_messages(&mut self) -> Result<(), DtlsError> {
        loop {
            match self.stream.ssl_read(&mut self.buffer) {
                Ok(len) => self.messages.extend(self.buffer.get(..len).map(<[u8]>::to_vec)),
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(()),
                Err(error) => return Err(classify(&error)),
            }
        }
    }

    /// The client repeats its flight because it lacks ours. OpenSSL drops the repetition as a replay, so it
    /// falls to us to send ours again. Only the server does, whose flight is the last: two ends that answer
    /// each other's repetitions would never stop.
    fn repeat_last_flight(&mut self, now: Instant) {
        if self.role == Role::Server && self.repeat_at.is_none_or(|at| now >= at) {
            self.repeat_at = Some(now + REPEAT);
            self.repeat_flight();
        }
    }

    fn repeat_flight(&mut self) {
        self.stream.get_mut().outgoing.extend(self.last_flight.iter().cloned());
    }
}

impl DtlsEndpoint for OpensslDtls {
    fn on_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DtlsError> {
        if !is_well_formed(datagram) {
            return Ok(());
        }
        if self.established && is_handshake(datagram) {
            self.repeat_last_flight(now);
        }
        self.stream.get_mut().incoming.push_back(datagram.to_vec());
        if !self.established {
            self.handshake_bytes += datagram.len();
            if self.handshake_bytes > MAX_HANDSHAKE_BYTES {
                return Err(DtlsError::HandshakeTooLong);
            }
            self.handshake(now)?;
        }
        if self.established { self.read_messages() } else { Ok(()) }
    }

    fn on_timeout(&mut self, now: Instant) -> Result<(), DtlsError> {
        if self.established || self.repeat_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        let sent_before = self.stream.get_ref().outgoing.len();
        self.repeat_at = Some(now + REPEAT);
        self.handshake(now)?;
        if !self.established && self.stream.get_ref().outgoing.len() == sent_before {
            self.repeat_flight();
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.repeat_at.filter(|_| !self.established)
    }

    fn send(&mut self, message: &[u8]) -> Result<(), DtlsError> {
        self.stream.ssl_write(message).map(drop).map_err(|error| classify(&error))
    }

    fn close(&mut self) {
        // It fails only before the handshake is done, when there is nobody to take leave of.
        let _ = self.stream.shutdown();
    }

    fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().outgoing.pop_front()
    }

    fn poll_message(&mut self) -> Option<Vec<u8>> {
        self.messages.pop_front()
    }

    fn is_established(&self) -> bool {
        self.established
    }

    fn key_was_used(&self) -> bool {
        self.key_used.load(Ordering::Relaxed)
    }
}

/// Whether a datagram is made of whole records of plausible size. OpenSSL takes an encrypted record that
/// is too short for its own tag, or one that is too long, as a reason to end the session, and anyone
/// could forge one.
fn is_well_formed(datagram: &[u8]) -> bool {
    let mut reader = Reader::new("DTLS record", datagram);
    while reader.remaining() > 0 {
        if !matches!(read_record(&mut reader), Ok(true)) {
            return false;
        }
    }
    !datagram.is_empty()
}

/// Layout (big-endian): `[0] content type · [1..3] version · [3..5] epoch · [5..11] sequence ·
/// [11..13] length · [13..] fragment`
fn read_record(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    let content_type = reader.u8()?;
    let [major, _] = reader.array()?;
    let epoch: [u8; 2] = reader.array()?;
    reader.skip(6)?;
    let len = usize::from(u16::from_be_bytes(reader.array()?));
    reader.skip(len)?;
    let shortest = if epoch == [0, 0] { 1 } else { TAG_LEN };
    Ok((20..=23).contains(&content_type) && major == 0xFE && (shortest..=MAX_RECORD).contains(&len))
}

/// Whether the first record is ChangeCipherSpec (20) or Handshake (22), in the clear or not.
fn is_handshake(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20 | 22))
}

/// What OpenSSL takes for its socket. Emptied after each call; never holds more than one flight.
#[derive(Default)]
struct Queues {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl io::Read for Queues {
    /// One datagram, cut to `buffer`, as a datagram socket does.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        buffer.iter_mut().zip(&datagram).for_each(|(to, byte)| *to = *byte);
        Ok(datagram.len().min(buffer.len()))
    }
}

impl io::Write for Queues {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.outgoing.push_back(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn context(role: Role, channel: Channel, psk: &Psk, used: &Arc<AtomicBool>) -> Result<SslContext, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::dtls())?;
    context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    context.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    context.set_cipher_list(suites(role, channel))?;
    context.set_groups_list(GROUPS)?;
    context.set_options(
        SslOptions::NO_QUERY_MTU
            | SslOptions::NO_TICKET
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::CIPHER_SERVER_PREFERENCE
            | SslOptions::from_bits_retain(NO_EXTENDED_MASTER_SECRET | NO_ENCRYPT_THEN_MAC),
    );
    match role {
        Role::Client => set_client_key(&mut context, psk, used),
        Role::Server => set_server_key(&mut context, channel, psk, used),
    }
    Ok(context.build())
}

fn suites(role: Role, channel: Channel) -> &'static str {
    match (channel, role) {
        (Channel::Main, _) => SUITE_MAIN,
        (Channel::Back, Role::Client) => SUITE_BACK,
        (Channel::Back, Role::Server) => SUITES_BACK_SERVER,
    }
}

fn set_client_key(context: &mut SslContextBuilder, psk: &Psk, used: &Arc<AtomicBool>) {
    let (key, used) = (psk.clone(), Arc::clone(used));
    context.set_psk_client_callback(move |_, _hint, identity, out| {
        used.store(true, Ordering::Relaxed);
        let identity_fits = fill(identity, format!("{PSK_IDENTITY}\0").as_bytes());
        let key_len = fill(out, key.as_bytes());
        identity_fits.and(key_len).ok_or_else(ErrorStack::get)
    });
}

/// No identity hint is sent: the crate cannot set one, and clients ignore it.
fn set_server_key(context: &mut SslContextBuilder, channel: Channel, psk: &Psk, used: &Arc<AtomicBool>) {
    let (key, used) = (psk.clone(), Arc::clone(used));
    context.set_psk_server_callback(move |_, identity, out| {
        used.store(true, Ordering::Relaxed);
        // Which name cameras give on the back channel is not known; there the key alone decides.
        let known = channel == Channel::Back || identity == Some(PSK_IDENTITY.as_bytes());
        // A key of no length makes OpenSSL answer with the alert for an unknown identity.
        if known { fill(out, key.as_bytes()).ok_or_else(ErrorStack::get) } else { Ok(0) }
    });
}

/// Copies `bytes` to the front of `out` and returns their number, or `None` if they do not fit.
fn fill(out: &mut [u8], bytes: &[u8]) -> Option<usize> {
    out.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(bytes.len())
}

fn new_stream(context: &SslContext, role: Role) -> Result<SslStream<Queues>, ErrorStack> {
    let mut ssl = Ssl::new(context)?;
    ssl.set_mtu(MTU)?;
    match role {
        Role::Client => ssl.set_connect_state(),
        Role::Server => ssl.set_accept_state(),
    }
    SslStream::new(ssl, Queues::default())
}

fn classify(error: &openssl::ssl::Error) -> DtlsError {
    if error.code() == ErrorCode::ZERO_RETURN {
        return DtlsError::Closed;
    }
    match error.ssl_error() {
        Some(stack) => failed(stack),
        None => DtlsError::Failed(error.to_string()),
    }
}

fn failed(stack: &ErrorStack) -> DtlsError {
    let reason = stack.errors().first().and_then(|error| error.reason()).unwrap_or("unknown failure");
    let about_key = ["decrypt error", "bad record mac", "psk identity"];
    if about_key.iter().any(|words| reason.contains(words)) {
        DtlsError::KeyRefused
    } else {
        DtlsError::Failed(reason.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tutk::tests as checks;

    struct Pair {
        now: Instant,
        client: OpensslDtls,
        server: OpensslDtls,
    }

    impl Pair {
        fn new(channel: Channel, client_enr: &str, server_enr: &str) -> Self {
            let client = OpensslDtls::new(Role::Client, channel, &Psk::derive(client_enr)).unwrap();
            let server = OpensslDtls::new(Role::Server, channel, &Psk::derive(server_enr)).unwrap();
            Self { now: checks::start_of_time(), client, server }
        }

        /// One step of 100 ms of virtual time. `keeps` decides about each datagram, by number.
        fn step(&mut self, count: &mut usize, keeps: &impl Fn(usize) -> bool) -> Result<(), DtlsError> {
            self.client.on_timeout(self.now)?;
            self.server.on_timeout(self.now)?;
            loop {
                let (up, down) = (self.client.poll_datagram(), self.server.poll_datagram());
                if up.is_none() && down.is_none() {
                    break;
                }
                if let Some(datagram) = up.filter(|_| counted(count, keeps)) {
                    self.server.on_datagram(self.now, &datagram)?;
                }
                if let Some(datagram) = down.filter(|_| counted(count, keeps)) {
                    self.client.on_datagram(self.now, &datagram)?;
                }
            }
            self.now += Duration::from_millis(100);
            Ok(())
        }

        fn is_up(&self) -> bool {
            self.client.is_established() && self.server.is_established()
        }
    }

    fn counted(count: &mut usize, keeps: &impl Fn(usize) -> bool) -> bool {
        *count += 1;
        keeps(*count - 1)
    }

    #[test]
    fn both_suites_carry_messages_both_ways() {
        for channel in [Channel::Main, Channel::Back] {
            let mut pair = Pair::new(channel, "aKzdqckqZ8HUHFe5", "aKzdqckqZ8HUHFe5");
            pair.step(&mut 0, &|_| true).unwrap();
            assert!(pair.is_up(), "{channel:?} is not up");
            let suite = pair.client.stream.ssl().current_cipher().unwrap().name();
            assert_eq!(suite, if channel == Channel::Main { SUITE_MAIN } else { SUITE_BACK });
            pair.client.send(b"up").unwrap();
            pair.server.send(b"down").unwrap();
            pair.step(&mut 0, &|_| true).unwrap();
            assert_eq!(pair.server.poll_message().as_deref(), Some(&b"up"[..]));
            assert_eq!(pair.client.poll_message().as_deref(), Some(&b"down"[..]));
        }
    }

    #[test]
    fn a_key_with_a_zero_byte_works() {
        let mut pair = Pair::new(Channel::Main, "GkB9S7cX38GgzSC6", "GkB9S7cX38GgzSC6");
        pair.step(&mut 0, &|_| true).unwrap();
        assert!(pair.is_up());
    }

    #[test]
    fn any_one_lost_datagram_is_made_up_for_in_virtual_time() {
        let mut clean = 0;
        Pair::new(Channel::Main, "enr", "enr").step(&mut clean, &|_| true).unwrap();
        for lost in 0..clean {
            let mut pair = Pair::new(Channel::Main, "enr", "enr");
            let mut count = 0;
            for _ in 0..10 {
                pair.step(&mut count, &|n| n != lost).unwrap();
            }
            assert!(pair.is_up(), "not up a second after datagram {lost} of {clean} was lost");
        }
    }

    #[test]
    fn repeated_handshakes_die_down() {
        let mut pair = Pair::new(Channel::Main, "enr", "enr");
        pair.client.on_timeout(pair.now).unwrap();
        let mut seen: Vec<Vec<u8>> = vec![];
        // Everything is delivered twice.
        for _ in 0..100 {
            let (up, down) = (pair.client.poll_datagram(), pair.server.poll_datagram());
            for datagram in up.iter().chain(&seen).flat_map(|datagram| [datagram, datagram]) {
                pair.server.on_datagram(pair.now, datagram).unwrap();
            }
            for datagram in down.iter().flat_map(|datagram| [datagram, datagram]) {
                pair.client.on_datagram(pair.now, datagram).unwrap();
            }
            seen.extend(up);
            pair.now += Duration::from_millis(1);
        }
        assert!(pair.is_up());
        assert!(seen.len() <= 12, "the client sent {} datagrams", seen.len());
    }

    #[test]
    fn a_wrong_key_never_comes_up_and_is_known_by_its_use() {
        let mut pair = Pair::new(Channel::Main, "right", "wrong");
        let outcome = (0..20).try_for_each(|_| pair.step(&mut 0, &|_| true));
        assert!(!pair.is_up());
        assert!(pair.client.key_was_used() || outcome == Err(DtlsError::KeyRefused));
    }

    #[test]
    fn a_silent_peer_never_gets_to_the_key() {
        let mut pair = Pair::new(Channel::Main, "enr", "enr");
        (0..20).try_for_each(|_| pair.step(&mut 0, &|_| false)).unwrap();
        assert!(!pair.client.key_was_used());
    }

    #[test]
    fn the_farewell_arrives() {
        let mut pair = Pair::new(Channel::Back, "enr", "enr");
        pair.step(&mut 0, &|_| true).unwrap();
        pair.client.close();
        assert_eq!(pair.step(&mut 0, &|_| true), Err(DtlsError::Closed));
    }

    #[test]
    fn replayed_damaged_and_foreign_datagrams_do_no_harm() {
        for channel in [Channel::Main, Channel::Back] {
            let mut pair = Pair::new(channel, "enr", "enr");
            pair.step(&mut 0, &|_| true).unwrap();
            let now = pair.now;
            pair.client.send(b"once").unwrap();
            let good = pair.client.poll_datagram().unwrap();
            for bit in 0..good.len() * 8 {
                let mut damaged = good.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(pair.server.on_datagram(now, &damaged), Ok(()), "{channel:?}, bit {bit}");
            }
            for len in 0..good.len() {
                assert_eq!(pair.server.on_datagram(now, &good[..len]), Ok(()), "{channel:?}, {len} bytes");
            }
            let clear_alert = [21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 40];
            for datagram in [&clear_alert[..], &[], &[0x55; 300], &good, &good] {
                assert_eq!(pair.server.on_datagram(now, datagram), Ok(()), "{channel:?}, {datagram:?}");
            }
            assert_eq!(pair.server.poll_message().as_deref(), Some(&b"once"[..]));
            assert_eq!(pair.server.poll_message(), None, "a replay came through");
        }
    }

    #[test]
    fn an_endless_handshake_is_given_up() {
        let mut pair = Pair::new(Channel::Main, "enr", "enr");
        pair.client.on_timeout(pair.now).unwrap();
        let mut record = vec![23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 7, 0x03, 0xE8];
        record.resize(13 + 1000, 0);
        let outcome = (0..40).try_for_each(|_| pair.client.on_datagram(pair.now, &record));
        assert_eq!(outcome, Err(DtlsError::HandshakeTooLong));
    }
}
