//! The settings of a backend.

use std::net::{IpAddr, Ipv4Addr};

use dispatcher_common::backend::Share;

use super::{
    help::Typical,
    row::{read_required, read_rest},
    section::Section,
    settings,
    spec::Spec,
};
use crate::values::{Mac, Seconds};

settings! {
    /// The settings of a backend.
    #[derive(Eq)]
    BackendConfig (weight_bound: u32) at "in [[service.backend]]", also [], later [];
    put {
        /// `PUT /v1/services/{service}/backends/{backend}` (create or replace) and `POST` (create).
        PutBackend
    }
    patch {
        /// `PATCH /v1/services/{service}/backends/{backend}`.
        PatchBackend
    }
    view {}
    given {
        /// Its name, unique in its service.
        name: String => Spec::NEW.expected("a name");
    }
    fixed {}
    required {
        /// Its own address, on the link of an attached NIC; its MAC is found by it. It may be of the other family than the VIP.
        address: IpAddr => Spec::NEW.expected("an IPv4 or IPv6 address");
    }
    optional {
        /// Its MAC address; `auto` on the command line and the API: looked up.
        mac: Option<Mac> = None => Spec::NEW.expected("six hexadecimal bytes such as \"02:00:00:00:00:01\"")
            .default_is("looked up in the neighbour table");
        /// Share of new connections, up to the service's `weight_bound`; 0: none.
        ///
        /// The manager does not change a weight that was set at runtime.
        weight: u32 = weight_bound.div_ceil(2).max(1) => Spec::NEW
            .always().default_is("half of `weight_bound`").may_be("0..=`weight_bound`");
        /// Whether the manager leaves its weight alone.
        ///
        /// `false` with a weight: the manager continues from that weight.
        #[serde(default)]
        fixed_weight alone "true": bool = false => Spec::NEW.left_out();
        /// Whether it takes connections only while no other backend of the service does.
        ///
        /// The others may be down, quiesced or without a MAC. Clients never stay with such a backend.
        #[serde(default)]
        sorry alone "true": bool = false => Spec::NEW.left_out();
        /// Whether it is on the dispatcher's own host.
        local alone "true": bool = false => Spec::NEW.left_out();
        /// Active connections it takes at most; 0: any number.
        max_connections: u32 = 0 => Spec::NEW
            .numbers(0, Share::MOST_CONNECTIONS as i64).zero("any number").left_out();
        /// Whether clients stay with it, where the service keeps them.
        #[serde(default = "sticky")]
        sticky: bool = true => Spec::NEW.left_out();
    }
    tables {}
    runtime {
        /// Give it no new connections; existing ones go on.
        quiesced: bool;
        /// With `quiesced`: clients with an affinity record go elsewhere at once.
        now: bool;
        /// With `quiesced`: after this time it is taken down, if it has connections left.
        deadline: Seconds;
        /// Take it up or down by hand.
        up: bool;
    }
    file {}
}

/// `sticky` in a state that was saved before the setting existed.
const fn sticky() -> bool {
    true
}

impl Typical for BackendConfig {
    fn typical() -> Self {
        Self::new(String::new(), Ipv4Addr::UNSPECIFIED.into(), 0)
    }
}

impl BackendConfig {
    /// Reads the settings of the backend of this name, in a service with this bound.
    pub(crate) fn read(s: &mut Section<'_, '_>, name: String, weight_bound: u32) -> Self {
        let address = read_required::<Self, _>(s, "address");
        let mut settings = Self::new(name, address, weight_bound);
        let range = 0..=i64::from(u32::MAX);
        let weight = s.integer_within("weight", range, || format!("0..={weight_bound}"));
        settings.weight = weight.unwrap_or(settings.weight);
        read_rest(s, &mut settings, &["weight"]);
        settings
    }
}
