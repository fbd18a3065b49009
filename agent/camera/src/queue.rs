//! Bytes on their way to one client, bounded: who does not read is dropped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Unsent bytes per client: more than one large 4K key frame, or 16 s at 4 Mbit/s.
const ROOM: usize = 8 * 1024 * 1024;

/// A client that takes nothing for so long is gone.
const LONGEST_WRITE: Duration = Duration::from_secs(10);

/// The client does not read fast enough, or its connection is closed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("client does not take what is sent")]
pub(crate) struct NotTaken;

/// The sending end; clones share the room.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// The receiving end, which writes to the connection.
#[derive(Debug)]
pub(crate) struct Writer {
    receiver: mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>,
}

pub(crate) fn queue() -> (Queue, Writer) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (
        Queue {
            sender,
            room: Arc::new(Semaphore::new(ROOM)),
        },
        Writer { receiver },
    )
}

impl Queue {
    /// Adds bytes that are written in one piece. Never waits.
    pub(crate) fn push(&self, bytes: Bytes) -> Result<(), NotTaken> {
        let size = u32::try_from(bytes.len()).map_err(|_| NotTaken)?;
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(size)
            .map_err(|_| NotTaken)?;
        self.sender.send((bytes, room)).map_err(|_| NotTaken)
    }
}

impl Writer {
    /// Writes until every [`Queue`] is dropped and everything is sent.
    pub(crate) async fn run(mut self, mut out: impl AsyncWrite + Unpin) -> io::Result<()> {
        while let Some((bytes, room)) = self.receiver.recv().await {
            tokio::time::timeout(LONGEST_WRITE, out.write_all(&bytes)).await??;
            drop(room);
        }
        out.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded() {
        let (queue, _writer) = queue();
        let piece = Bytes::from(vec![0; ROOM / 4]);
        assert_eq!(
            (0..9).filter(|_| queue.push(piece.clone()).is_ok()).count(),
            4
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn everything_is_written_in_order() {
        let (queue, writer) = queue();
        queue.push(Bytes::from_static(b"one ")).unwrap();
        queue.push(Bytes::from_static(b"two")).unwrap();
        drop(queue);
        let mut out = Vec::new();
        writer.run(&mut out).await.unwrap();
        assert_eq!(out, b"one two");
    }
}
