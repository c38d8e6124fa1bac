//! Owns one direction of a connection.

use super::End;
use super::buffer::{Buffers, LARGE, SMALL};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Full reads in a row before the buffer grows.
const GROW_AFTER: u32 = 2;

pub(super) struct Pump<'a> {
    buffers: &'a Buffers,
    buffer: Option<Box<[u8]>>,
    filled: usize,
    written: usize,
    size: usize,
    full_reads: u32,
    unflushed: bool,
    moved: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Copying,
    Closing,
    Done,
}

/// Which side of a direction failed.
pub(super) enum Fault {
    Source(io::Error),
    Sink(io::Error),
}

impl Fault {
    pub(super) fn blame(
        self,
        source: impl FnOnce(io::Error) -> End,
        sink: impl FnOnce(io::Error) -> End,
    ) -> End {
        match self {
            Fault::Source(error) => source(error),
            Fault::Sink(error) => sink(error),
        }
    }
}

impl<'a> Pump<'a> {
    pub(super) fn new(buffers: &'a Buffers) -> Self {
        Self {
            buffers,
            buffer: None,
            filled: 0,
            written: 0,
            size: SMALL,
            full_reads: 0,
            unflushed: false,
            moved: 0,
            stage: Stage::Copying,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Bytes read from the source since the last call.
    pub(super) fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved)
    }

    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        mut source: Pin<&mut R>,
        mut sink: Pin<&mut W>,
    ) -> Poll<Result<(), Fault>>
    where
        R: AsyncRead + ?Sized,
        W: AsyncWrite + ?Sized,
    {
        loop {
            match self.stage {
                Stage::Copying if self.written < self.filled => {
                    ready!(self.poll_write(cx, sink.as_mut())).map_err(Fault::Sink)?;
                }
                Stage::Copying => match self.poll_read(cx, source.as_mut()) {
                    Poll::Ready(read) => read.map_err(Fault::Source)?,
                    Poll::Pending => {
                        self.release();
                        ready!(self.poll_flush(cx, sink.as_mut())).map_err(Fault::Sink)?;
                        return Poll::Pending;
                    }
                },
                Stage::Closing => {
                    match ready!(sink.as_mut().poll_shutdown(cx)) {
                        // The other side is gone already: it has no use for our end.
                        Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                        result => result.map_err(Fault::Sink)?,
                    }
                    self.stage = Stage::Done;
                }
                Stage::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_read<R: AsyncRead + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        source: Pin<&mut R>,
    ) -> Poll<io::Result<()>> {
        let size = self.size;
        let buffer = self.buffer.get_or_insert_with(|| self.buffers.borrow(size));
        let mut space = ReadBuf::new(buffer);
        ready!(source.poll_read(cx, &mut space))?;
        let read = space.filled().len();
        (self.filled, self.written) = (read, 0);
        self.moved += read as u64;
        if read == 0 {
            self.release();
            self.stage = Stage::Closing;
        } else {
            self.resize(read);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<W: AsyncWrite + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        sink: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        let Some(buffer) = &self.buffer else { return Poll::Ready(Ok(())) };
        let wrote = ready!(sink.poll_write(cx, &buffer[self.written..self.filled]))?;
        if wrote == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written += wrote;
        self.unflushed = true;
        // A new size takes effect between reads, when nothing is in the buffer.
        if self.written == self.filled && buffer.len() != self.size {
            self.release();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush<W: AsyncWrite + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        sink: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(sink.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn resize(&mut self, read: usize) {
        self.full_reads = if read == self.size { self.full_reads + 1 } else { 0 };
        if self.size == SMALL && self.full_reads >= GROW_AFTER {
            self.size = LARGE;
        } else if self.size == LARGE && read <= SMALL / 2 {
            self.size = SMALL;
        }
    }

    fn release(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.buffers.give_back(buffer);
        }
    }
}

impl Drop for Pump<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn bytes_and_the_end_arrive_and_no_buffer_is_kept() {
        let buffers = Buffers::default();
        let (mut from, mut source) = duplex(1024);
        let (mut sink, mut to) = duplex(1024);
        let payload: Vec<u8> = (0..2_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = payload.clone();
        let write = async move {
            from.write_all(&payload).await.unwrap();
            drop(from);
        };
        let pump = async {
            let mut pump = Pump::new(&buffers);
            poll_fn(|cx| pump.poll(cx, Pin::new(&mut source), Pin::new(&mut sink)))
                .await
                .unwrap_or_else(|_| panic!("no side failed"));
            assert_eq!(pump.take_moved(), 2_000_000);
            assert!(pump.buffer.is_none());
        };
        let mut got = Vec::new();
        let (_, (), read) = tokio::join!(write, pump, to.read_to_end(&mut got));
        read.unwrap();
        assert_eq!(got, expected);
    }

    #[tokio::test]
    async fn an_idle_direction_holds_no_buffer() {
        let buffers = Buffers::default();
        let (_from, mut source) = duplex(64);
        let (mut sink, _to) = duplex(64);
        let mut pump = Pump::new(&buffers);
        let first = poll_fn(|cx| {
            Poll::Ready(pump.poll(cx, Pin::new(&mut source), Pin::new(&mut sink)).is_pending())
        });
        assert!(first.await);
        assert!(pump.buffer.is_none());
    }
}
