//! How is the record written without putting all of it into words anew for every change?
//!
//! It is the JSON of a [`Record`], as serde writes it. Most services are as they were when it was last written: their text
//! is kept and used again. Where nothing is another but some services, slots that are retired, or VIPs, the record is not
//! written at all, but amended by these: JSON of an [`Amendment`].

use std::collections::HashMap;

use serde::{Deserialize, Serialize, de::Error as _};

use crate::{
    dataplane::StoredRecord,
    model::{
        ArpIgnored, Config, Connections, Exits, Manager, NicName, OwnedVip, Record, RetiredSlot,
        Service, ServiceConfig, Shared, State,
    },
};

/// What of a record is another than it was.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Amendment {
    /// Services of the file as last applied, to be put in the place of those that the record has by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) applied: Vec<Shared<ServiceConfig>>,
    /// Of those that run, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) running: Vec<Shared<Service>>,
    /// All VIPs that are ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) vips: Option<Vec<OwnedVip>>,
    /// All slots that are retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retired_slots: Option<Vec<RetiredSlot>>,
}

impl Amendment {
    /// What makes a record one of this state and, if there is another, of this file; none where more changes than services,
    /// which are the same by id.
    pub(super) fn of_services(
        record: &Record,
        state: &State,
        applied: Option<&Config>,
    ) -> Option<Self> {
        let before = &record.state;
        let is_of_services = before.interfaces == state.interfaces
            && before.manager == state.manager
            && before.services.len() == state.services.len()
            && before.services.iter().zip(&state.services).all(|(was, is)| was.id == is.id)
            && applied.is_none_or(|applied| differs_in_services(&record.applied, applied));
        is_of_services.then(|| Self {
            applied: applied
                .map(|applied| changed(&record.applied.services, &applied.services))
                .unwrap_or_default(),
            running: changed(&before.services, &state.services),
            ..Self::default()
        })
    }
}

/// What is not what it was in the same place.
fn changed<T: Clone + PartialEq>(before: &[T], after: &[T]) -> Vec<T> {
    let pairs = before.iter().zip(after).filter(|(was, is)| was != is);
    pairs.map(|(_, is)| is.clone()).collect()
}

/// Whether two files say the same but for settings of services, which are the same by name.
pub(super) fn differs_in_services(was: &Config, is: &Config) -> bool {
    Head::of(was) == Head::of(is)
        && was.services.len() == is.services.len()
        && was.services.iter().zip(&is.services).all(|(was, is)| was.name == is.name)
}

/// A record as it was stored, with what it was amended by.
///
/// # Errors
/// It is not understood.
pub fn read_record(stored: &StoredRecord) -> serde_json::Result<Record> {
    let mut record: Record = serde_json::from_slice(&stored.document)?;
    let (applied, state) = (&record.applied.services, &record.state.services);
    let by_name: HashMap<_, _> = applied.iter().map(|s| s.name.clone()).zip(0..).collect();
    let by_id: HashMap<u32, usize> = state.iter().map(|s| s.id).zip(0..).collect();
    let unknown = || serde_json::Error::custom("an amendment is of a service that is not there");
    for amendment in &stored.amendments {
        let Amendment { applied, running, vips, retired_slots } =
            serde_json::from_slice(amendment)?;
        for service in applied {
            let at = *by_name.get(&service.name).ok_or_else(unknown)?;
            record.applied.services[at] = service;
        }
        for service in running {
            let at = *by_id.get(&service.id).ok_or_else(unknown)?;
            record.state.services[at] = service;
        }
        record.vips = vips.unwrap_or(record.vips);
        record.retired_slots = retired_slots.unwrap_or(record.retired_slots);
    }
    Ok(record)
}

/// The texts of services as last written.
#[derive(Debug, Default)]
pub(super) struct RecordText {
    applied: Texts<Shared<ServiceConfig>>,
    running: Texts<Shared<Service>>,
}

/// The text of each of these that was written last, by name.
#[derive(Debug)]
struct Texts<T>(HashMap<String, (T, Vec<u8>)>);

impl<T> Default for Texts<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl RecordText {
    /// The record as JSON. `pause` is called after every few pages.
    pub(super) fn bytes(&mut self, record: &Record, pause: fn()) -> serde_json::Result<Vec<u8>> {
        let Record { applied, state, vips, retired_slots, interface_names, nic_names, arp_ignored } =
            record;
        let mut out = b"{\"applied\":".to_vec();
        open(&mut out, &Head::of(applied))?;
        self.applied.write(&mut out, &applied.services, |service| &service.name, pause)?;
        let State { interfaces, manager, services } = state;
        out.extend(b",\"state\":");
        open(&mut out, &Running { interfaces, manager })?;
        self.running.write(&mut out, services, |service| &service.config.name, pause)?;
        let rest = Rest { vips, retired_slots, interface_names, nic_names, arp_ignored };
        let rest = serde_json::to_vec(&rest)?;
        out.push(b',');
        out.extend(&rest[1..]);
        Ok(out)
    }
}

impl<T: Clone + PartialEq + Serialize> Texts<T> {
    /// Writes the rest of an object that was opened: its services.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        services: &[T],
        name: impl Fn(&T) -> &String,
        pause: fn(),
    ) -> serde_json::Result<()> {
        out.extend(b",\"services\":[");
        let mut texts = HashMap::with_capacity(services.len());
        for (i, service) in services.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            let (key, text) = match self.0.remove_entry(name(service)) {
                Some((key, (written, text))) if written == *service => (key, (written, text)),
                _ => {
                    let text = serde_json::to_vec(service)?;
                    (name(service).clone(), (service.clone(), text))
                }
            };
            out.extend(&text.1);
            texts.insert(key, text);
            pause();
        }
        self.0 = texts;
        out.extend(b"]}");
        Ok(())
    }
}

/// Writes an object without its end, which is to follow.
fn open(out: &mut Vec<u8>, head: &impl Serialize) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *out, head)?;
    out.pop();
    Ok(())
}

/// A [`Config`] without its services.
#[derive(PartialEq, Serialize)]
struct Head<'a> {
    interfaces: &'a [String],
    xdp_mode: crate::model::XdpMode,
    api_socket: &'a std::path::Path,
    metrics_listen: std::net::SocketAddr,
    pin_dir: &'a std::path::Path,
    manage_vips: bool,
    manage_arp: bool,
    connections: &'a Connections,
    manager: &'a Manager,
    exits: &'a Exits,
}

impl<'a> Head<'a> {
    fn of(config: &'a Config) -> Self {
        // Named one by one: a setting that is new is missed by the compiler, not by the next controller.
        let Config {
            interfaces,
            xdp_mode,
            api_socket,
            metrics_listen,
            pin_dir,
            manage_vips,
            manage_arp,
            connections,
            manager,
            exits,
            services: _,
        } = config;
        Self {
            interfaces,
            xdp_mode: *xdp_mode,
            api_socket,
            metrics_listen: *metrics_listen,
            pin_dir,
            manage_vips: *manage_vips,
            manage_arp: *manage_arp,
            connections,
            manager,
            exits,
        }
    }
}

/// A [`State`] without its services.
#[derive(Serialize)]
struct Running<'a> {
    interfaces: &'a [String],
    manager: &'a Manager,
}

/// A [`Record`] without file and state.
#[derive(Serialize)]
struct Rest<'a> {
    vips: &'a [OwnedVip],
    retired_slots: &'a [RetiredSlot],
    interface_names: &'a [String],
    nic_names: &'a [NicName],
    arp_ignored: &'a [ArpIgnored],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        reconcile::{self, testing},
    };

    fn record(text: &str) -> Record {
        let applied = config::parse(text, "test.toml").unwrap();
        let state = reconcile::merge(None, &applied, &State::default(), &[], 7).unwrap();
        Record {
            applied,
            state,
            vips: vec![OwnedVip { interface: "eth0".into(), vip: "192.0.2.80".parse().unwrap() }],
            retired_slots: vec![RetiredSlot::new(9, 3)],
            interface_names: vec!["eth0".into(), String::new()],
            nic_names: vec![NicName { written: "lan0".into(), name: "eth0".into() }],
            arp_ignored: vec![ArpIgnored { ifindex: 7, former: 0 }],
        }
    }

    /// The text is what serde writes, whatever was written before.
    fn check(text: &mut RecordText, record: &Record) {
        let bytes = text.bytes(record, || ()).unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&bytes).unwrap(), *record);
        let plain: serde_json::Value = serde_json::to_value(record).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap(), plain);
    }

    /// What is read of a record and what it was amended by is the record that was meant.
    #[test]
    fn a_record_is_what_it_was_amended_to() {
        let mut record = record(include_str!("../../../examples/full.toml"));
        let document = RecordText::default().bytes(&record, || ()).unwrap();
        let mut amendments = Vec::new();
        let mut check = |record: &Record, amendment: &Amendment| {
            amendments.push(serde_json::to_vec(amendment).unwrap());
            let stored =
                StoredRecord { document: document.clone(), amendments: amendments.clone() };
            assert_eq!(read_record(&stored).unwrap(), *record);
        };
        let (mut state, mut file) = (record.state.clone(), record.applied.clone());
        state.services[0].backends[0].quiesced = true;
        let of_state = Amendment::of_services(&record, &state, None).unwrap();
        record.state = state.clone();
        check(&record, &of_state);
        file.services[1].fin_count += 1;
        state.services[1].config.fin_count += 1;
        let of_both = Amendment::of_services(&record, &state, Some(&file)).unwrap();
        assert_eq!((of_both.applied.len(), of_both.running.len()), (1, 1));
        (record.state, record.applied) = (state.clone(), file.clone());
        check(&record, &of_both);
        record.retired_slots.push(RetiredSlot::new(10, 3));
        let retired_slots = Some(record.retired_slots.clone());
        check(&record, &Amendment { retired_slots, ..Amendment::default() });
        (record.vips, record.retired_slots) = (Vec::new(), Vec::new());
        let (vips, retired_slots) = (Some(Vec::new()), Some(Vec::new()));
        check(&record, &Amendment { vips, retired_slots, ..Amendment::default() });
        // Other services, or in another order, are another document.
        file.services.reverse();
        assert!(Amendment::of_services(&record, &state, Some(&file)).is_none());
        state.services.pop();
        assert!(Amendment::of_services(&record, &state, None).is_none());
    }

    #[test]
    fn it_is_the_records_json_through_all_changes() {
        let full = include_str!("../../../examples/full.toml");
        let mut text = RecordText::default();
        let mut record = record(full);
        check(&mut text, &record);
        check(&mut text, &record);
        record.state.services[0].backends[0].quiesced = true;
        check(&mut text, &record);
        record.applied.services[0].backends[0].weight += 1;
        check(&mut text, &record);
        record.state.services.reverse();
        record.state.services.push(testing::service("new \"quoted\"", "192.0.2.99", 99).into());
        check(&mut text, &record);
        record.state.services.remove(0);
        record.state.services[0].config.name = "renamed".into();
        check(&mut text, &record);
        (record.state, record.applied.services) = (State::default(), Vec::new());
        check(&mut text, &record);
    }
}
