//! Affinity: how clients stay with their backends.

use std::{fmt, time::Duration};

use utoipa::openapi::{RefOr, Schema};

use super::{
    Stated,
    bounds::Bounds,
    row::tables,
    schema::{Named, named},
    settings,
    spec::Spec,
};
use crate::values::duration;

/// Longest timeout: an entry can hold 65,535 ticks of 4.3 s.
const LONGEST: Duration = Duration::from_secs(72 * 3600);

settings! {
    /// How a service's clients stay with their backends.
    #[derive(Eq)]
    Affinity at "in affinity of [[service]]", also [], later [];
    put {}
    patch {
        /// Changes of how a service's clients stay with their backends.
        PatchAffinity
    }
    view {
        /// How a service's clients stay with their backends.
        AffinityView
    }
    given {}
    fixed {}
    required {}
    optional {
        /// Time since a client's last new connection after which it is placed again; 0: clients do not stay.
        ///
        /// Until then the client's new connections go to the backend that it had before (rounded up to 4.3 s).
        #[serde(with = "duration")]
        timeout as "affinity-timeout": Duration = Duration::ZERO => Spec::NEW.left_out()
            .within(Bounds::UpTo(LONGEST));
        /// Leading bits of the address that tell IPv4 clients apart.
        ///
        /// With fewer than 32, the clients behind the proxies of one network stay together.
        mask_v4 as "affinity-mask-v4": u8 = 32 => Spec::NEW.numbers(0, 32).left_out();
        /// Leading bits of the address that tell IPv6 clients apart.
        mask_v6 as "affinity-mask-v6": u8 = 128 => Spec::NEW.numbers(0, 128).left_out();
        /// Ports of other services of the VIP whose clients find the same backend; `none` on the command line: no link.
        ///
        /// For passive FTP, or a shopping basket on 80 and 443. It suffices that one of two services names the other. All
        /// services that are so linked, directly or not, must agree on `timeout` and masks. They share backends by their
        /// `address`.
        cross_port as "cross-port": Vec<u16> = Vec::new() => Spec::NEW.left_out()
            .expected("ports of other services of the vip");
    }
    tables {}
    runtime {}
    file {}
}

tables!(Affinity);

impl Stated for Affinity {
    type Said = PatchAffinity;
    type Shown = AffinityView;

    fn set(&mut self, said: &PatchAffinity) {
        said.apply(self);
    }

    fn shown(&self) -> AffinityView {
        self.into()
    }

    fn shown_text(shown: &AffinityView) -> String {
        shown.to_string()
    }

    fn schema(schemas: &mut Named) -> RefOr<Schema> {
        named::<AffinityView>(schemas)
    }
}

impl fmt::Display for AffinityView {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, mask_v4, mask_v6, cross_port } = self;
        let timeout = duration::text(timeout.0);
        write!(f, "{{ timeout = \"{timeout}\", mask_v4 = {mask_v4}, mask_v6 = {mask_v6}, ")?;
        write!(f, "cross_port = {cross_port:?} }}")
    }
}
