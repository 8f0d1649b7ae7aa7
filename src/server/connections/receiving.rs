//! A request's body that is being received, which leaves its connection to others until it is whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::table::Busy;

/// Makes a connection busy once it is read to its end.
pub(super) struct ReceivedBody {
    body: Incoming,
    busy: Busy,
}

impl ReceivedBody {
    pub(super) fn new(body: Incoming, busy: Busy) -> Self {
        match body.is_end_stream() {
            true => busy.answer(),
            false => busy.receive(),
        }
        Self { body, busy }
    }
}

impl HttpBody for ReceivedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.busy.answer();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
