//! An answer that is being written, which keeps its connection busy.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::table::Busy;

/// Makes a connection idle when it is dropped.
pub(super) struct Answering(Busy);

impl Answering {
    pub(super) fn new(busy: Busy) -> Self {
        Self(busy)
    }

    /// Counts the request as refused.
    pub(super) fn refuse(&self) {
        self.0.refuse();
    }

    /// The answer's body, to the end of which the connection is busy.
    pub(super) fn with(self, body: Body) -> AnswerBody {
        AnswerBody {
            body,
            _answering: self,
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A body that is dropped when it is written.
pub(super) struct AnswerBody {
    body: Body,
    _answering: Answering,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
