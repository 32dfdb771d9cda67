//! The kernel's error texts: extended netlink acknowledgements, such as "Peer MTU is too large to set XDP".

use std::io;

use rtnetlink::{Handle, packet_core::ErrorMessage, sys::AsyncSocket as _};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG`: the message, a string that ends with a zero.
const MESSAGE: u16 = 1;
/// Flag bits of an attribute's type.
const FLAGS: u16 = 0xc000;

/// Opens a connection for requests, in the calling thread's network namespace, whose errors carry the kernel's text. A task of
/// the current runtime serves it.
pub(crate) fn connect() -> io::Result<Handle> {
    let (mut connection, handle, _) = rtnetlink::new_connection()?;
    // Without it (before Linux 4.12) errors are only numbers.
    let _best_effort = connection.socket_mut().socket_mut().set_ext_ack(true);
    tokio::spawn(connection);
    Ok(handle)
}

/// The error in a message, with the kernel's text if there is one. [`errno`] still returns its number.
pub(crate) fn error(message: &ErrorMessage) -> io::Error {
    let plain = message.to_io();
    match (plain.raw_os_error(), words(&message.header)) {
        (Some(errno), Some(words)) => io::Error::new(plain.kind(), Explained { errno, words }),
        _ => plain,
    }
}

/// The error number of an error from [`error`], or from the system.
pub(crate) fn errno(error: &io::Error) -> Option<i32> {
    let explained = error.get_ref().and_then(|inner| inner.downcast_ref::<Explained>());
    explained.map_or_else(|| error.raw_os_error(), |explained| Some(explained.errno))
}

/// An error number and the kernel's text.
#[derive(Debug, thiserror::Error)]
#[error("{words} ({})", io::Error::from_raw_os_error(*.errno))]
struct Explained {
    errno: i32,
    words: String,
}

/// Finds the kernel's text in what follows the error number: the request as it was sent, then attributes.
pub(crate) fn words(answer: &[u8]) -> Option<String> {
    let request = u32::from_ne_bytes(answer.get(..4)?.try_into().ok()?) as usize;
    let mut rest = answer.get(aligned(request.max(HEADER))..)?;
    while let Some((&[a, b, c, d], after)) = rest.split_first_chunk() {
        let (length, kind) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
        let value = after.get(..usize::from(length).checked_sub(4)?)?;
        if kind & !FLAGS == MESSAGE {
            let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
            let text = String::from_utf8_lossy(text).trim().to_owned();
            return (!text.is_empty()).then_some(text);
        }
        rest = rest.get(aligned(usize::from(length))..).unwrap_or_default();
    }
    None
}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroI32;

    use super::*;

    /// A request of this length, followed by attributes.
    fn answer(request: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = request.to_ne_bytes().to_vec();
        bytes.resize(aligned(request as usize), 0);
        for (kind, value) in attributes {
            bytes.extend((value.len() as u16 + 4).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(aligned(bytes.len()), 0);
        }
        bytes
    }

    #[test]
    fn the_kernels_words_are_found_behind_the_request() {
        let offset = 36_u32.to_ne_bytes();
        let said = answer(33, &[(2, &offset), (1, b"Peer MTU is too large to set XDP\0")]);
        assert_eq!(words(&said).as_deref(), Some("Peer MTU is too large to set XDP"));
        let mut message = ErrorMessage::default();
        message.code = NonZeroI32::new(-libc::ERANGE);
        message.header = said;
        let error = error(&message);
        assert_eq!(errno(&error), Some(libc::ERANGE));
        let text = error.to_string();
        assert!(text.starts_with("Peer MTU is too large to set XDP (Numerical result"), "{text}");
    }

    #[test]
    fn without_words_or_with_broken_ones_the_number_stays() {
        let mut broken = answer(16, &[(1, b"cut\0")]);
        broken.truncate(22);
        for header in [vec![], vec![1], answer(16, &[]), answer(16, &[(2, b"1234")]), broken] {
            let mut message = ErrorMessage::default();
            (message.code, message.header) = (NonZeroI32::new(-libc::EPERM), header);
            assert_eq!(error(&message).raw_os_error(), Some(libc::EPERM));
        }
    }
}
