//! The way to the channel, kept up for ever: described, presigned and connected anew whenever it is gone (kvs
//! reference §4).

use std::future::pending;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Event, Tell};
use crate::aws::{Aws, AwsError, Channel, Role};
use crate::clock;
use crate::proto::kvs::signaling::{Inbound, MessageType};
use crate::rtc::kvs_call::{CallError, Socket};
use crate::sim::dice::Dice;

/// What a line works with.
pub(super) struct Line {
    pub(super) aws: Aws,
    /// Name or ARN.
    pub(super) name: String,
    /// Whether it is to be connected.
    pub(super) wanted: watch::Receiver<bool>,
    /// The channel, from when it is known.
    pub(super) channel: watch::Sender<Option<Channel>>,
    /// Frames for viewers.
    pub(super) outbound: mpsc::Receiver<String>,
    pub(super) inbound: mpsc::Sender<Inbound>,
    pub(super) tell: Tell,
    pub(super) dice: Dice,
}

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Aws(#[from] AwsError),
    #[error("{}.", capital(&.0.to_string()))]
    Call(#[from] CallError),
    #[error("The channel {0}, so no doorbell can be connected to it.")]
    Unfit(&'static str),
}

/// How a connection ended.
enum End {
    /// The service wants it so.
    GoAway,
    Lost,
    NotWanted,
    /// Nobody listens to the line any more.
    Over,
}

impl Line {
    const PING_EVERY: Duration = Duration::from_secs(10);
    /// After a connection that has lasted as long the next one is not waited for.
    const SOUND_AFTER: Duration = Duration::from_secs(10);

    pub(super) async fn run(mut self) {
        let mut failures = 0;
        // Since it was online: who reads it once need not read it every few seconds.
        let mut told = None;
        loop {
            // An error means that the doorbell stops.
            if self.wanted.wait_for(|wanted| *wanted).await.is_err() {
                return;
            }
            let begun = clock::now();
            let why = match self.connect().await {
                Ok(socket) => {
                    self.tell.tell(Event::Online);
                    told = None;
                    match self.attend(socket).await {
                        End::GoAway => None,
                        End::Lost => Some("The signalling service has hung up.".to_owned()),
                        End::NotWanted => Some("It was told to leave its channel.".to_owned()),
                        End::Over => return,
                    }
                }
                Err(trouble) => Some(trouble.to_string()),
            };
            if begun.elapsed() > Self::SOUND_AFTER {
                failures = 0;
            }
            match why {
                Some(why) if told.as_ref() == Some(&why) => {}
                Some(why) => {
                    told = Some(why.clone());
                    self.tell.tell(Event::Offline { why });
                }
                None => self.tell.tell(Event::GoAway),
            }
            tokio::time::sleep(self.pause(failures)).await;
            failures += 1;
        }
    }

    /// Full jitter: anything up to 100 ms, 200 ms, 400 ms … 10 s.
    fn pause(&mut self, failures: u32) -> Duration {
        const LONGEST_MS: u32 = 10_000;
        let longest = 100_u32.saturating_mul(1 << failures.min(7)).min(LONGEST_MS);
        let share = u32::from_le_bytes(self.dice.bytes()) % (longest + 1);
        Duration::from_millis(share.into())
    }

    async fn connect(&mut self) -> Result<Socket, Trouble> {
        let described = self.aws.describe(&self.name).await?;
        if !described.single_master {
            return Err(Trouble::Unfit("is not of type SINGLE_MASTER"));
        }
        if !described.active {
            return Err(Trouble::Unfit("is not ACTIVE yet"));
        }
        let signalling = self.aws.signalling(&described.channel, Role::Master, "MASTER").await?;
        let opened = Socket::open(&signalling).await;
        if opened.is_err() {
            self.aws.forget(&described.channel);
        }
        self.channel.send_replace(Some(described.channel));
        Ok(opened?)
    }

    async fn attend(&mut self, mut socket: Socket) -> End {
        let mut pings = interval_at(Instant::now() + Self::PING_EVERY, Self::PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                end = not_wanted(&mut self.wanted) => return end,
                frame = socket.next() => match frame {
                    Some(frame) if frame.message_type == MessageType::GoAway => return End::GoAway,
                    Some(frame) => if self.inbound.send(frame).await.is_err() {
                        return End::Over;
                    },
                    None => return End::Lost,
                },
                frame = next(&mut self.outbound) => if socket.send_text(frame).await.is_err() {
                    return End::Lost;
                },
                _ = pings.tick() => socket.ping().await,
            }
        }
    }
}

async fn not_wanted(wanted: &mut watch::Receiver<bool>) -> End {
    if wanted.wait_for(|wanted| !wanted).await.is_ok() { End::NotWanted } else { End::Over }
}

async fn next(outbound: &mut mpsc::Receiver<String>) -> String {
    match outbound.recv().await {
        Some(frame) => frame,
        None => pending().await,
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_begins_with_a_capital() {
        assert_eq!(capital("the doorbell"), "The doorbell");
        assert_eq!(capital(""), "");
    }
}
