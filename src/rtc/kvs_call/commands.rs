//! Questions and replies over a call's data channel (kvs reference §7): how a door is opened.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::Ending;
use crate::clock::{self, Instant};
use crate::rtc::camera::Channel;

/// The data channel of a call, for whoever has something to ask.
///
/// Its texts carry nothing that would tie a reply to a question. What is known is that the channel is in order and
/// that a camera works off one text after the other, so: one question is out at a time; a text is the reply when the
/// asker says so, and others are passed over (some masters tell every viewer what one of them has said); and a question
/// that was given up has its reply outstanding for 10 s from when it was asked: the next text in that time that it
/// would have taken is taken for its reply, and not for the reply to a later question. A camera that never replies to
/// one question thus may leave the next one without a reply, which is the error that opens no door twice.
#[derive(Clone)]
pub struct Commands {
    desk: watch::Receiver<Option<Desk>>,
}

/// Whether a text is a reply to what was asked.
pub type IsReply = fn(&str) -> bool;

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nothing was sent: there is no channel, or it was not free in time.
    #[error("its data channel is not open")]
    NotOpen,
    /// It was sent.
    #[error("it did not reply in time")]
    NoReply,
    /// It was sent, or may have been, and nobody is left to reply.
    #[error("the call ended before it replied")]
    Ended,
}

impl Commands {
    /// Longer than a task needs to take its turn on a busy machine.
    const NOW: Duration = Duration::from_millis(250);

    /// Waits until a question could be sent.
    ///
    /// # Errors
    /// `NotOpen`: refused by the camera, closed, or not open within this time.
    pub async fn opened(&self, within: Duration) -> Result<(), AskError> {
        let mut open = self.desk().ok_or(AskError::NotOpen)?.open;
        match timeout(within, open.wait_for(|open| *open)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(AskError::NotOpen),
        }
    }

    /// Sends a text, once, and gives back the first reply of which `is_reply` says that it is one. Waits up to
    /// `within` for the channel to be open and free, and as long again for the reply. Given up before it was sent it
    /// is not sent any more.
    ///
    /// # Errors
    /// [`AskError`]; only `NotOpen` says for certain that nothing was sent.
    pub async fn ask(&self, text: &str, is_reply: IsReply, within: Duration) -> Result<String, AskError> {
        self.ask_by(clock::now() + within, text, is_reply, within).await
    }

    /// The same for a text that must not be late: it is sent now, or not at all. Waits up to `within` for the reply.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn ask_now(&self, text: &str, is_reply: IsReply, within: Duration) -> Result<String, AskError> {
        self.ask_by(clock::now() + Self::NOW, text, is_reply, within).await
    }

    /// What is not sent `until` then is not sent any more.
    async fn ask_by(
        &self,
        until: Instant,
        text: &str,
        is_reply: IsReply,
        within: Duration,
    ) -> Result<String, AskError> {
        let (sent_sender, mut sent) = oneshot::channel();
        let (reply_sender, reply) = oneshot::channel();
        let question = Question { text: text.to_owned(), is_reply, sent: sent_sender, reply: reply_sender };
        let desk = self.desk().ok_or(AskError::NotOpen)?;
        match timeout_at(until, desk.questions.send(question)).await {
            Ok(Ok(())) => {}
            _ => return Err(AskError::NotOpen),
        }
        if timeout_at(until, &mut sent).await.ok() != Some(Ok(())) {
            sent.close();
            // It may have been sent just now.
            sent.try_recv().map_err(|_| AskError::NotOpen)?;
        }
        match timeout(within, reply).await {
            Ok(reply) => reply.map_err(|_| AskError::Ended),
            Err(_) => Err(AskError::NoReply),
        }
    }

    fn desk(&self) -> Option<Desk> {
        self.desk.borrow().clone()
    }
}

/// Where questions for one channel are handed in.
#[derive(Clone)]
struct Desk {
    open: watch::Receiver<bool>,
    questions: mpsc::Sender<Question>,
}

/// The call's own end of it. Dropping it ends the conversation.
pub(super) struct Conversation {
    desk: watch::Sender<Option<Desk>>,
    conversing: Option<AbortOnDropHandle<()>>,
}

impl Conversation {
    /// Questions that wait for their turn. Full: whoever asks waits too.
    const WAITING: usize = 4;

    /// Over this channel; `None` is one that the camera has refused.
    pub(super) fn start(channel: Option<Channel>) -> (Self, Commands) {
        let (desk_sender, desk) = watch::channel(None);
        let mut conversation = Self { desk: desk_sender, conversing: None };
        conversation.move_to(channel);
        (conversation, Commands { desk })
    }

    /// From now on over this channel. A question that is out on the other one has no reply any more.
    pub(super) fn move_to(&mut self, channel: Option<Channel>) {
        let started = channel.map(|channel| {
            let (open_sender, open) = watch::channel(false);
            let (questions, inbox) = mpsc::channel(Self::WAITING);
            let conversing = tokio::spawn(converse(channel, open_sender, inbox).in_current_span());
            (Desk { open, questions }, AbortOnDropHandle::new(conversing))
        });
        let (desk, conversing) = started.unzip();
        self.desk.send_replace(desk);
        self.conversing = conversing;
    }
}

struct Question {
    text: String,
    is_reply: IsReply,
    /// Told right before it is sent.
    sent: oneshot::Sender<()>,
    reply: oneshot::Sender<String>,
}

/// Until the channel is closed.
async fn converse(mut channel: Channel, open: watch::Sender<bool>, mut questions: mpsc::Receiver<Question>) {
    if channel.opened().await.is_err() {
        return;
    }
    open.send_replace(true);
    let mut replies = Replies::default();
    loop {
        tokio::select! {
            text = channel.next_text() => match text {
                Some(text) => replies.take(text, clock::now()),
                None => return,
            },
            () = replies.given_up() => replies.postpone(),
            Some(question) = questions.recv(), if replies.current.is_none() => {
                let Question { text, is_reply, sent, reply } = question;
                // Its asker may have gone while it waited.
                if sent.send(()).is_ok() {
                    replies.current = Some(Outstanding { is_reply, asked: clock::now(), reply });
                    if channel.send_text(&text).await == Err(Ending::HungUp) {
                        return;
                    }
                }
            }
        }
    }
}

/// Which replies are still to come.
#[derive(Default)]
struct Replies {
    current: Option<Outstanding>,
    /// When they were asked, and what they would have taken; the oldest first.
    given_up: Vec<(Instant, IsReply)>,
}

struct Outstanding {
    is_reply: IsReply,
    asked: Instant,
    reply: oneshot::Sender<String>,
}

impl Replies {
    const LATE_WITHIN: Duration = Duration::from_secs(10);

    fn take(&mut self, text: String, now: Instant) {
        self.given_up.retain(|(asked, _)| now.duration_since(*asked) < Self::LATE_WITHIN);
        if let Some(late) = self.given_up.iter().position(|(_, is_reply)| is_reply(&text)) {
            self.given_up.remove(late);
        } else if let Some(current) = self.current.take_if(|current| (current.is_reply)(&text)) {
            let _given_up_just_now = current.reply.send(text);
        }
    }

    /// Resolves when nobody waits for the reply to the question that is out; never without one.
    async fn given_up(&mut self) {
        match &mut self.current {
            Some(current) => current.reply.closed().await,
            None => std::future::pending().await,
        }
    }

    fn postpone(&mut self) {
        self.given_up.extend(self.current.take().map(|current| (current.asked, current.is_reply)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::MediaHub;
    use crate::rtc::camera::{CameraPeer, Sound, Video, Wanted};

    const DOOR: &str = r#"{"action":"open_door"}"#;
    const SOON: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(20);

    fn is_verdict(text: &str) -> bool {
        text.contains("Door opened") || text.contains("ECHO:")
    }

    fn wanted() -> Wanted<'static> {
        Wanted {
            hub: MediaHub::new(),
            video: Video::None,
            sound: Sound::None,
            channel: Some("commands"),
            ice_servers: &[],
            relay_only: false,
            loopback: true,
        }
    }

    /// Both ends of a call: who asks, and the camera by hand.
    struct Call {
        commands: Commands,
        _conversation: Conversation,
        camera: Channel,
        caller: CameraPeer,
        _callee: CameraPeer,
    }

    impl Call {
        async fn new() -> Self {
            let mut caller = CameraPeer::offer(wanted()).await.unwrap();
            caller.gathered(PATIENCE).await;
            let mut callee = CameraPeer::answer_to(wanted(), &caller.sdp()).await.unwrap();
            callee.gathered(PATIENCE).await;
            caller.answer(&callee.sdp()).await.unwrap();
            let (conversation, commands) = Conversation::start(caller.take_channel());
            let camera = callee.take_channel().unwrap();
            let call = Self { commands, _conversation: conversation, camera, caller, _callee: callee };
            call.commands.opened(PATIENCE).await.unwrap();
            call
        }

        async fn camera_hears(&mut self) -> String {
            timeout(PATIENCE, self.camera.next_text()).await.expect("nothing was said").unwrap()
        }

        async fn camera_says(&self, text: &str) {
            self.camera.send_text(text).await.unwrap();
        }

        /// Asks from now on.
        fn asks(&self, within: Duration) -> tokio::task::JoinHandle<Result<String, AskError>> {
            let commands = self.commands.clone();
            tokio::spawn(async move { commands.ask(DOOR, is_verdict, within).await })
        }

        async fn asks_in_vain(&mut self) {
            let asking = self.asks(SOON);
            assert_eq!(self.camera_hears().await, DOOR);
            assert_eq!(asking.await.unwrap(), Err(AskError::NoReply));
        }
    }

    #[tokio::test]
    async fn the_reply_is_what_the_asker_takes_for_one() {
        let mut call = Call::new().await;
        let asking = call.asks(PATIENCE);
        assert_eq!(call.camera_hears().await, DOOR);
        for chatter in ["", "viewer-2 has joined", "{}"] {
            call.camera_says(chatter).await;
        }
        call.camera.send(bytes::Bytes::from_static(b"Door opened")).await.unwrap();
        call.camera_says("Door opened successfully").await;
        assert_eq!(asking.await.unwrap().as_deref(), Ok("Door opened successfully"));
    }

    #[tokio::test]
    async fn a_late_reply_is_not_taken_for_the_next_one() {
        let mut call = Call::new().await;
        call.asks_in_vain().await;
        let asking = call.asks(PATIENCE);
        assert_eq!(call.camera_hears().await, DOOR);
        call.camera_says("Door opened, the first time").await;
        call.camera_says("Door opened, the second time").await;
        assert_eq!(asking.await.unwrap().as_deref(), Ok("Door opened, the second time"));
    }

    #[test]
    fn a_reply_that_never_came_is_not_waited_for_without_an_end() {
        let asked = clock::now();
        let mut replies = Replies { current: None, given_up: vec![(asked, is_verdict)] };
        let (reply, mut verdict) = oneshot::channel();
        let now = asked + Replies::LATE_WITHIN;
        replies.current = Some(Outstanding { is_reply: is_verdict, asked: now, reply });
        replies.take("Door opened".to_owned(), now);
        assert_eq!(verdict.try_recv().as_deref(), Ok("Door opened"));
    }

    #[tokio::test]
    async fn one_question_is_out_at_a_time_and_what_was_given_up_is_not_sent() {
        let mut call = Call::new().await;
        let first = call.asks(PATIENCE);
        assert_eq!(call.camera_hears().await, DOOR);
        assert_eq!(call.commands.ask("second", is_verdict, SOON).await, Err(AskError::NotOpen));
        let third = call.commands.ask("third", is_verdict, PATIENCE);
        call.camera_says("ECHO: no").await;
        let (third, heard) = tokio::join!(third, async {
            let heard = call.camera.next_text().await;
            call.camera.send_text("Door opened").await.unwrap();
            heard
        });
        assert_eq!(heard.as_deref(), Some("third"));
        assert_eq!(third.as_deref(), Ok("Door opened"));
        assert_eq!(first.await.unwrap().as_deref(), Ok("ECHO: no"));
    }

    #[tokio::test]
    async fn what_must_not_be_late_is_sent_at_once_or_not_at_all() {
        let mut call = Call::new().await;
        let first = call.asks(PATIENCE);
        assert_eq!(call.camera_hears().await, DOOR);
        let late = timeout(PATIENCE / 2, call.commands.ask_now("late", is_verdict, PATIENCE)).await;
        assert_eq!(late, Ok(Err(AskError::NotOpen)), "it waits for the channel to be free");
        call.camera_says("ECHO: no").await;
        assert_eq!(first.await.unwrap().as_deref(), Ok("ECHO: no"));
        let commands = call.commands.clone();
        let third = tokio::spawn(async move { commands.ask_now("third", is_verdict, PATIENCE).await });
        assert_eq!(call.camera_hears().await, "third");
        call.camera_says("Door opened").await;
        assert_eq!(third.await.unwrap().as_deref(), Ok("Door opened"));
    }

    #[tokio::test]
    async fn the_end_of_the_call_is_told_to_whoever_waits() {
        let mut call = Call::new().await;
        let asking = call.asks(PATIENCE);
        assert_eq!(call.camera_hears().await, DOOR);
        drop(call.caller);
        assert_eq!(asking.await.unwrap(), Err(AskError::Ended));
        assert_eq!(call.commands.ask(DOOR, is_verdict, PATIENCE).await, Err(AskError::NotOpen));
    }

    #[tokio::test]
    async fn without_a_channel_nothing_is_sent() {
        let (conversation, commands) = Conversation::start(None);
        assert_eq!(commands.ask(DOOR, is_verdict, PATIENCE).await, Err(AskError::NotOpen));
        drop(conversation);
        assert_eq!(commands.opened(PATIENCE).await, Err(AskError::NotOpen));
    }
}
