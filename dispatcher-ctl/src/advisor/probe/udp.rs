//! `udp`: a datagram of any bytes, and an answer that must begin with given bytes.

use super::{Fault, Target, datagram, dial};
use crate::model::{Advisor, Hex};

pub(super) async fn check(advisor: &Advisor, target: &Target) -> Result<(), Fault> {
    let socket = dial::udp(target).await?;
    let expected = &advisor.response;
    datagram::ask(&socket, &advisor.request.0, advisor.receive_timeout, |answer| {
        if answer.starts_with(&expected.0) {
            return Some(Ok(()));
        }
        let begun = answer.get(..expected.0.len()).unwrap_or(answer);
        let begun = Hex(begun.to_vec());
        Some(Err(format!("the answer begins with \"{begun}\", expected \"{expected}\"")))
    })
    .await
}
