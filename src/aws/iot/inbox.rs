//! What waits for whoever listens to a connection.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::News;

/// Messages in their order, and the latest state of the connection. Nobody waits to put something in.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    news: VecDeque<News>,
    /// The state that was told last.
    told: Option<News>,
}

impl Inbox {
    /// Each has up to 128 KiB.
    const MESSAGES: usize = 64;

    /// A message. Where too many wait the oldest is dropped: a ring of long ago is of no use.
    pub(super) fn deliver(&self, message: News) {
        let mut waiting = self.waiting();
        let messages = waiting.news.iter().filter(|news| is_message(news)).count();
        if messages >= Self::MESSAGES
            && let Some(oldest) = waiting.news.iter().position(is_message)
        {
            tracing::warn!("messages from AWS IoT come faster than they are read; the oldest is dropped");
            waiting.news.remove(oldest);
        }
        waiting.news.push_back(message);
        drop(waiting);
        self.filled.notify_one();
    }

    /// A state of the connection. It takes the place of one that nobody has read; the same again is not told.
    pub(super) fn tell(&self, state: News) {
        let mut waiting = self.waiting();
        if waiting.told.as_ref() == Some(&state) {
            return;
        }
        waiting.told = Some(state.clone());
        waiting.news.retain(is_message);
        waiting.news.push_back(state);
        drop(waiting);
        self.filled.notify_one();
    }

    pub(super) async fn next(&self) -> News {
        loop {
            let first = self.waiting().news.pop_front();
            match first {
                Some(news) => return news,
                None => self.filled.notified().await,
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_message(news: &News) -> bool {
    matches!(news, News::Message { .. })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(number: usize) -> News {
        News::Message { topic: number.to_string(), payload: Bytes::new(), retained: false, dup: false }
    }

    fn trouble(why: &str) -> News {
        News::Trouble { why: why.to_owned(), needs_owner: false }
    }

    #[tokio::test]
    async fn the_oldest_message_makes_room_and_of_states_only_the_latest_waits() {
        let inbox = Inbox::default();
        inbox.tell(trouble("a"));
        (0..=Inbox::MESSAGES).for_each(|number| inbox.deliver(message(number)));
        inbox.tell(News::Connected);
        for number in 1..=Inbox::MESSAGES {
            assert_eq!(inbox.next().await, message(number));
        }
        assert_eq!(inbox.next().await, News::Connected);
        assert!(inbox.waiting().news.is_empty());
    }

    #[tokio::test]
    async fn a_state_is_told_once_until_it_changes() {
        let inbox = Inbox::default();
        for state in [trouble("a"), trouble("a"), trouble("b")] {
            inbox.tell(state);
        }
        assert_eq!(inbox.next().await, trouble("b"));
        inbox.tell(trouble("b"));
        assert!(inbox.waiting().news.is_empty());
        inbox.tell(News::Connected);
        inbox.tell(trouble("b"));
        assert_eq!(inbox.next().await, trouble("b"));
    }
}
