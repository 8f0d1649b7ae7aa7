//! A stream to a client that must read what is written to it.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream that fails where no byte could be written for a while.
pub(super) struct TimedStream<S> {
    stream: S,
    limit: Duration,
    /// Runs while the client reads nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> TimedStream<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            stalled: None,
        }
    }

    /// What becomes of an attempt to write.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        attempt: Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        if attempt.is_ready() {
            self.stalled = None;
            return attempt;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        match stalled.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let message = "the client does not read its answer";
                Poll::Ready(Err(Error::new(ErrorKind::TimedOut, message)))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, attempt)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, attempt)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, attempt)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// A client that takes a byte at a time, after a pause.
    struct Slow {
        pause: Duration,
        paused: Pin<Box<Sleep>>,
        taken: Vec<u8>,
    }

    impl Slow {
        fn new(pause: Duration) -> Self {
            Self {
                pause,
                paused: Box::pin(sleep(pause)),
                taken: Vec::new(),
            }
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<Result<usize>> {
            std::task::ready!(self.paused.as_mut().poll(context));
            self.paused = Box::pin(sleep(self.pause));
            self.taken.push(bytes[0]);
            Poll::Ready(Ok(1))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn write_all(stream: &mut TimedStream<Slow>, bytes: &[u8]) -> Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let write =
                |context: &mut Context<'_>| Pin::new(&mut *stream).poll_write(context, rest);
            written += poll_fn(write).await?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_given_up() {
        let client = Slow::new(Duration::from_secs(3600));
        let mut stream = TimedStream::new(client, Duration::from_millis(20));
        let error = write_all(&mut stream, b"answer").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_that_reads_slowly_is_not() {
        let client = Slow::new(Duration::from_millis(200));
        let mut stream = TimedStream::new(client, Duration::from_secs(1));
        write_all(&mut stream, b"an answer").await.unwrap();
        assert_eq!(stream.stream.taken, b"an answer");
    }
}
