//! The programs that carry probes of VIPs: loads them, attaches them by TC, and removes them.
//!
//! From Linux 6.6 on an attachment is a link that ends with this process. On older kernels it is a filter of the NIC's `clsact` queue,
//! which the controller, the next controller or `detach --all` removes. A filter that is left behind only drops what a VIP
//! sends to a probe's port.

use std::{collections::BTreeMap, path::Path};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        tc::{self, NlOptions, SchedClassifierLinkId, TcAttachOptions},
    },
    util::KernelVersion,
};
use dispatcher_common::{maps, net::Address, probe::ProbeEnd};

use super::{
    Datapath,
    error::DatapathError,
    load::{self, undisturbed},
    sections::Contents,
};

/// The program that sends probes to backends.
const OUT: &str = "probe_out";
/// The program that sends answers to the prober.
const IN: &str = "probe_in";

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// By a link (`tcx`).
    Link,
    /// By a filter of `clsact`.
    Filter,
}

impl Means {
    fn of_kernel() -> Self {
        let has_links = KernelVersion::current().is_ok_and(|v| v >= KernelVersion::new(6, 6, 0));
        if has_links { Self::Link } else { Self::Filter }
    }
}

/// Where answers to probes go, by the source address of the probes.
#[derive(Debug)]
pub struct ProbeEnds(HashMap<MapData, Address, ProbeEnd>);

impl ProbeEnds {
    /// Makes answers to this address go to `end`.
    ///
    /// # Errors
    /// As the kernel.
    pub fn add(&mut self, address: Address, end: ProbeEnd) -> Result<(), DatapathError> {
        self.0.insert(address, end, 0).map_err(|error| {
            DatapathError::map(maps::PROBE_ENDS, "write it")(std::io::Error::other(error))
        })
    }
}

/// Both programs. Dropping them detaches them.
#[derive(Debug)]
pub struct ProbePrograms {
    ebpf: Ebpf,
    means: Means,
    /// Attachments to NICs, by ifindex.
    nics: BTreeMap<u32, SchedClassifierLinkId>,
}

impl Datapath {
    /// Loads the programs for probes of VIPs, with the maps of this datapath.
    ///
    /// # Errors
    /// As the kernel.
    pub fn probe_programs(&self) -> Result<(ProbePrograms, ProbeEnds), DatapathError> {
        ProbePrograms::load(self.pins(), &self.section_contents(), Means::of_kernel())
    }
}

impl ProbePrograms {
    fn load(
        pins: &Path,
        contents: &Contents,
        means: Means,
    ) -> Result<(Self, ProbeEnds), DatapathError> {
        let mut ebpf = load::load_object(pins, contents)?;
        for name in [OUT, IN] {
            let program = program(&mut ebpf, name)?;
            undisturbed(|| program.load()).map_err(DatapathError::Program)?;
        }
        let ends = ProbeEnds(load::take_hash(&mut ebpf, maps::PROBE_ENDS)?);
        Ok((Self { ebpf, means, nics: BTreeMap::new() }, ends))
    }

    /// Sends packets that arrive at this NIC, the prober's, to backends.
    ///
    /// # Errors
    /// As the kernel.
    pub fn attach_prober(&mut self, name: &str) -> Result<(), DatapathError> {
        self.attach(OUT, name).map(drop)
    }

    /// Sends answers that arrive at these NICs (ifindex and name) to the prober; detaches from all other NICs.
    ///
    /// # Errors
    /// The kernel refuses a NIC: the first such error. The other NICs are attached.
    pub fn follow(&mut self, nics: &BTreeMap<u32, String>) -> Result<(), DatapathError> {
        let gone: Vec<_> =
            self.nics.keys().filter(|ifindex| !nics.contains_key(ifindex)).copied().collect();
        gone.into_iter().for_each(|ifindex| self.detach(ifindex));
        let mut result = Ok(());
        for (ifindex, name) in nics {
            if self.nics.contains_key(ifindex) {
                continue;
            }
            match self.attach(IN, name) {
                Ok(link) => drop(self.nics.insert(*ifindex, link)),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// The attached programs, by NIC: that of the prober's NIC, which has this name, and those of the NICs that receive answers.
    #[must_use]
    pub fn attached(&mut self, prober: &str, nics: &BTreeMap<u32, String>) -> Vec<(String, u32)> {
        let mut id = |name| program(&mut self.ebpf, name).ok()?.info().ok().map(|info| info.id());
        let (out, back) = (id(OUT), id(IN));
        let served = nics.iter().filter(|(ifindex, _)| self.nics.contains_key(ifindex));
        let back = served.filter_map(|(_, name)| Some((name.clone(), back?)));
        out.map(|out| (prober.to_owned(), out)).into_iter().chain(back).collect()
    }

    fn attach(
        &mut self,
        program_name: &str,
        nic: &str,
    ) -> Result<SchedClassifierLinkId, DatapathError> {
        let options = match self.means {
            Means::Link => TcAttachOptions::TcxOrder(LinkOrder::default()),
            Means::Filter => {
                // The queue may exist already. A filter that an earlier controller left must be removed first.
                let _there = tc::qdisc_add_clsact(nic);
                remove(nic, program_name);
                TcAttachOptions::Netlink(NlOptions::default())
            }
        };
        program(&mut self.ebpf, program_name)?
            .attach_with_options(nic, TcAttachType::Ingress, options)
            .map_err(|source| DatapathError::AttachProbes { interface: nic.to_owned(), source })
    }

    fn detach(&mut self, ifindex: u32) {
        let Some(link) = self.nics.remove(&ifindex) else { return };
        // The attachment of a NIC that no longer exists went with it.
        let _gone = program(&mut self.ebpf, IN).map(|program| program.detach(link));
    }
}

/// Whether a program is attached to a NIC's incoming side; `None` if this kernel attaches by filters.
#[must_use]
pub fn is_attached(nic: &str, program: u32) -> Option<bool> {
    if Means::of_kernel() == Means::Filter {
        return None;
    }
    // An error does not mean that it is detached.
    Some(match SchedClassifier::query_tcx(nic, TcAttachType::Ingress) {
        Ok((_, programs)) => programs.iter().any(|there| there.id() == program),
        Err(_) => true,
    })
}

/// Whether this kernel keeps attachments of processes that have ended, for [`remove_filter`] to remove.
#[must_use]
pub fn leaves_filters() -> bool {
    Means::of_kernel() == Means::Filter
}

/// Removes the program that sends answers to the prober from a NIC, if a process has left it behind.
pub fn remove_filter(nic: &str) {
    remove(nic, IN);
}

/// Removes a program's filter; mostly there is none.
fn remove(nic: &str, program: &str) {
    let _none = tc::qdisc_detach_program(nic, TcAttachType::Ingress, program);
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut SchedClassifier, DatapathError> {
    load::program(ebpf, name)
}
