//! A log that never holds up what it tells of: a thread of its own writes it. Where standard error
//! takes nothing for a while (a journal that is stuck, a pipe that nobody reads), lines are dropped
//! and counted.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// The lines that wait to be written.
const MOST_LINES: usize = 1024;
/// The longest that the end of the program waits for the log.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between two tries to queue the request to write what waits.
const NAP: Duration = Duration::from_millis(5);

/// The queue of this process, once there is one.
pub(super) static QUEUE: OnceLock<Queue> = OnceLock::new();

pub(super) struct Queue {
    messages: SyncSender<Message>,
    dropped: AtomicU64,
}

enum Message {
    Line(String),
    /// Everything before this is written once the receiver is told.
    Flush(SyncSender<()>),
}

impl Queue {
    fn new() -> (Self, Receiver<Message>) {
        let (messages, received) = sync_channel(MOST_LINES);
        (Self { messages, dropped: AtomicU64::new(0) }, received)
    }

    /// Queues a line, or counts it as dropped.
    pub(super) fn push(&self, line: String) {
        if self.messages.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The line that tells how many were dropped since the last one, if any were.
    fn confession(&self) -> Option<String> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        (dropped > 0).then(|| format!("{dropped} lines of the log were dropped: standard error took none"))
    }

    fn write(&self, received: &Receiver<Message>, mut out: impl FnMut(&str)) {
        while let Ok(message) = received.recv() {
            if let Some(confession) = self.confession() {
                out(&confession);
            }
            match message {
                Message::Line(line) => out(&line),
                Message::Flush(told) => drop(told.try_send(())),
            }
        }
    }
}

/// The log is written by a thread of its own from now on; what waits is written when this is
/// dropped.
pub(in crate::app) struct Background(());

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Io`] if the system has no thread left.
    pub(in crate::app) fn start() -> Result<Self> {
        let (queue, received) = Queue::new();
        if QUEUE.set(queue).is_ok() {
            let write = move || {
                let Some(queue) = QUEUE.get() else { return };
                // Nobody can be told that standard error is closed.
                queue.write(&received, |line| drop(writeln!(std::io::stderr().lock(), "{line}")));
            };
            let thread = std::thread::Builder::new().name("kaizen-log".to_owned()).spawn(write);
            thread.map_err(Error::io("thread kaizen-log"))?;
        }
        Ok(Self(()))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        flush();
    }
}

/// Waits until what was logged is written, for a second at most.
pub(in crate::app) fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let (tell, told) = sync_channel(1);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match queue.messages.try_send(Message::Flush(tell.clone())) {
            Ok(()) => {
                let _ = told.recv_timeout(PATIENCE.saturating_sub(start.elapsed()));
                return;
            }
            Err(_) => std::thread::sleep(NAP),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_nobody_takes_are_dropped_and_counted_and_pushing_never_waits() {
        let (queue, received) = Queue::new();
        for number in 0..MOST_LINES + 7 {
            queue.push(format!("line {number}"));
        }
        let Queue { messages, dropped } = queue;
        let queue = Queue { messages: sync_channel(1).0, dropped };
        // No more senders: the thread ends with the last line.
        drop(messages);
        let mut written = Vec::new();
        queue.write(&received, |line| written.push(line.to_owned()));
        assert_eq!(written.len(), MOST_LINES + 1);
        assert_eq!(written[0], "7 lines of the log were dropped: standard error took none");
        assert_eq!([&written[1], &written[MOST_LINES]], ["line 0", &format!("line {}", MOST_LINES - 1)]);
    }
}
