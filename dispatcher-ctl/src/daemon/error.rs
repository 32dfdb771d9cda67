//! Errors of the kernel and of the system as answers of the API: `?` makes an [`ApiError`] of them.

use std::{fmt::Display, io};

use crate::{
    api::{server::SocketError, types::ApiError},
    datapath::DatapathError,
    network::NetworkError,
};

/// Implements the conversion; the text of these errors may have a second line, which is a hint.
macro_rules! failed {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for ApiError {
            fn from(error: $error) -> Self {
                failed(&error)
            }
        }
    )*};
}

failed!(DatapathError, NetworkError, SocketError, io::Error, serde_json::Error);

fn failed(error: &dyn Display) -> ApiError {
    let text = error.to_string();
    match text.split_once("\nhint: ") {
        Some((line, hint)) => ApiError::failed(line).hint(hint),
        None => ApiError::failed(text),
    }
}
