//! The maps that are sections of the object: each has one value, which is written as a whole.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::{Ebpf, Pod, maps::Array};
use dispatcher_common::{
    backend::{BackendValue, InterfaceValue},
    flow::filter_bit_of,
    limits::{ADDRESS_FILTER_BITS, MAX_INTERFACES, MAX_SLOTS},
    maps::{ADDRESS_FILTER, BACKENDS, INTERFACES, SECTIONS},
    net,
};

/// The elements of a section, as the one value of its map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Elements<T, const N: usize>([T; N]);

// SAFETY: an array of values without padding has no padding, and any bytes are a valid value.
unsafe impl<T: Pod, const N: usize> Pod for Elements<T, N> {}

/// The contents of the sections, now or after the next write.
pub(super) struct Sections {
    filter: Box<Elements<u64, { ADDRESS_FILTER_BITS as usize / 64 }>>,
    backends: Box<Elements<BackendValue, { MAX_SLOTS as usize }>>,
    interfaces: Box<Elements<InterfaceValue, { MAX_INTERFACES as usize }>>,
}

impl Sections {
    /// Empty sections.
    pub(super) fn empty() -> Self {
        Self {
            filter: Box::new(Elements([0; _])),
            backends: Box::new(Elements([BackendValue::ZERO; _])),
            interfaces: Box::new(Elements([InterfaceValue::ZERO; _])),
        }
    }

    /// The element of an interface index.
    pub(super) fn interface(&mut self, index: u32) -> Option<&mut InterfaceValue> {
        self.interfaces.0.get_mut(index as usize)
    }

    /// The element of a slot.
    pub(super) fn backend(&mut self, slot: u16) -> Option<&mut BackendValue> {
        self.backends.0.get_mut(usize::from(slot))
    }

    /// Sets the filter's bit of an address.
    pub(super) fn open_filter(&mut self, address: IpAddr) {
        let bit = filter_bit_of(&net::address(address)) as usize;
        self.filter.0[bit / 64] |= 1 << (bit % 64);
    }

    /// Sets all bits of the filter.
    pub(super) const fn open_whole_filter(&mut self) {
        self.filter.0 = [u64::MAX; _];
    }

    /// Writes all of them.
    pub(super) fn write(&self, ebpf: &mut Ebpf) -> Result<()> {
        self.write_filter(ebpf)?;
        self.write_backends(ebpf)?;
        write(ebpf, INTERFACES, &*self.interfaces)
    }

    /// Writes the filter.
    pub(super) fn write_filter(&self, ebpf: &mut Ebpf) -> Result<()> {
        write(ebpf, ADDRESS_FILTER, &*self.filter)
    }

    /// Writes the backends.
    pub(super) fn write_backends(&self, ebpf: &mut Ebpf) -> Result<()> {
        write(ebpf, BACKENDS, &*self.backends)
    }
}

fn write<T: Pod, const N: usize>(
    ebpf: &mut Ebpf,
    name: &str,
    elements: &Elements<T, N>,
) -> Result<()> {
    let of = SECTIONS.iter().find(|section| section.name == name);
    let section = of.with_context(|| format!("{name} is no section"))?.section;
    let map = ebpf.map_mut(section).with_context(|| format!("no map {section}"))?;
    let mut map = Array::<_, Elements<T, N>>::try_from(map).with_context(|| section.to_owned())?;
    Ok(map.set(0, elements, 0)?)
}
