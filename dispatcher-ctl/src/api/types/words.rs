//! The words for verdicts, causes and states of connections.

use utoipa::openapi::{RefOr, Schema};

use crate::values::schema::words;

/// The verdicts of [`ReasonCount`](super::ReasonCount).
pub(super) fn verdict() -> RefOr<Schema> {
    words(&["tx", "redirect", "pass", "drop"])
}

/// The causes of [`RefusedCount`](super::RefusedCount).
pub(super) fn cause() -> RefOr<Schema> {
    words(&["full", "unsupported", "no_receiver", "down", "too_big", "other"])
}

/// The states of a [`Connection`](super::Connection).
pub(super) fn connection_state() -> RefOr<Schema> {
    words(&["half_open", "established", "closing"])
}
