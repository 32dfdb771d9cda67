//! The saved state: what the controller knows and the next one finds, kept with the pinned maps.
//!
//! Each service is a document of its own, as it runs and as the file last had it; everything else is the head. A change writes
//! only the documents that differ from what is saved ([`SavedDocuments`]), and is saved whole or not at all.

use std::{cell::LazyCell, collections::HashMap, mem::take, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize, de::Error as _};

use crate::{
    api::types::ApiError,
    datapath::{Document, Place, SavedDocuments, SavedState},
    model::{Record, Service, ServiceConfig, Shared},
};

mod amended;

/// The record in force, and where it is saved. It reads as a [`Record`]; only [`Store::commit`] and [`Store::note`] change it.
#[derive(Debug)]
pub(super) struct Store {
    record: Arc<Record>,
    documents: SavedDocuments,
    /// What was last saved by this controller, once something was.
    saved: Option<Saved>,
}

#[derive(Debug)]
struct Saved {
    record: Arc<Record>,
    texts: Texts,
}

/// How a record is saved.
#[derive(Debug)]
struct Texts {
    /// The head's text.
    head: Vec<u8>,
    /// Places of the head, of the file's services, and of those that run, in this order.
    places: Vec<Place>,
}

/// The first document: a record without its services.
#[derive(Serialize, Deserialize)]
struct Head<R> {
    /// How many of the documents that follow are services of the file as last applied; the others are services that run.
    applied_services: usize,
    record: R,
}

impl Deref for Store {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Store {
    /// A store that has not saved anything yet.
    pub(super) fn new(record: Record, documents: SavedDocuments) -> Self {
        Self { record: Arc::new(record), documents, saved: None }
    }

    /// Changes the record and saves it. If it cannot be saved, nothing changes.
    pub(super) fn commit(&mut self, change: impl FnOnce(&mut Record)) -> Result<(), ApiError> {
        let mut record = Record::clone(&self.record);
        change(&mut record);
        let texts = self.save(&mut record)?;
        self.record = Arc::new(record);
        self.saved = Some(Saved { record: Arc::clone(&self.record), texts });
        Ok(())
    }

    /// Changes the record to what has happened, or is about to. If it cannot be saved, it changes in memory, and the next change
    /// saves it.
    pub(super) fn note(&mut self, change: impl Fn(&mut Record)) {
        if let Err(error) = self.commit(&change) {
            tracing::error!("the controller's record cannot be written: {error}");
            change(Arc::make_mut(&mut self.record));
        }
    }

    fn save(&mut self, record: &mut Record) -> Result<Texts, ApiError> {
        let head = head(record)?;
        let documents = self.changed(record, &head)?;
        let places = self.documents.save(&documents)?;
        Ok(Texts { head, places })
    }

    /// All documents of a record; those that are saved already stay where they are.
    fn changed(&self, record: &Record, head: &[u8]) -> serde_json::Result<Vec<Document>> {
        let (applied, running) = (&record.applied.services, &record.state.services);
        let mut documents = Vec::with_capacity(1 + applied.len() + running.len());
        let Some(Saved { record: saved, texts }) = &self.saved else {
            documents.push(Document::New(head.to_vec()));
            compare(applied, &[], &[], applied_name, &mut documents)?;
            compare(running, &[], &[], running_name, &mut documents)?;
            return Ok(documents);
        };
        let (of_head, places) = texts.places.split_at_checked(1).unwrap_or_default();
        let (of_applied, of_running) =
            places.split_at_checked(saved.applied.services.len()).unwrap_or_default();
        documents.push(match of_head {
            [place] if texts.head == head => Document::Kept(*place),
            _ => Document::New(head.to_vec()),
        });
        compare(applied, &saved.applied.services, of_applied, applied_name, &mut documents)?;
        compare(running, &saved.state.services, of_running, running_name, &mut documents)?;
        Ok(documents)
    }
}

/// The head's text: the record without its services.
fn head(record: &mut Record) -> serde_json::Result<Vec<u8>> {
    let services = (take(&mut record.applied.services), take(&mut record.state.services));
    let head = serde_json::to_vec(&Head { applied_services: services.0.len(), record: &*record });
    (record.applied.services, record.state.services) = services;
    head
}

fn applied_name(service: &ServiceConfig) -> &str {
    &service.name
}

fn running_name(service: &Service) -> &str {
    &service.config.name
}

/// The documents of services, of which `saved` are saved at `places`. Most services keep their place in the list; the index by
/// name is built only when one has moved.
fn compare<T: PartialEq + Serialize>(
    services: &[Shared<T>],
    saved: &[Shared<T>],
    places: &[Place],
    name: fn(&T) -> &str,
    documents: &mut Vec<Document>,
) -> serde_json::Result<()> {
    let saved: Vec<_> = saved.iter().zip(places).collect();
    let by_name = LazyCell::new(|| {
        saved.iter().map(|saved| (name(saved.0), *saved)).collect::<HashMap<_, _>>()
    });
    for (i, service) in services.iter().enumerate() {
        let in_place = saved.get(i).filter(|(was, _)| name(was) == name(service));
        documents.push(match in_place.or_else(|| by_name.get(name(service))) {
            Some((was, place)) if *was == service => Document::Kept(**place),
            Some(_) | None => Document::New(serde_json::to_vec(service)?),
        });
    }
    Ok(())
}

/// The record that was saved, by this version or the one before.
///
/// # Errors
/// It is not understood.
pub fn read_saved(state: &SavedState) -> serde_json::Result<Record> {
    let documents = match state {
        SavedState::Documents(documents) => documents,
        SavedState::Amended(document, amendments) => return amended::read(document, amendments),
    };
    let (head, services) =
        documents.split_first().ok_or_else(|| serde_json::Error::custom("it is empty"))?;
    let Head { applied_services, mut record }: Head<Record> = serde_json::from_slice(head)?;
    let (applied, running) = services
        .split_at_checked(applied_services)
        .ok_or_else(|| serde_json::Error::custom("services are missing"))?;
    let service = |document: &Vec<u8>| serde_json::from_slice::<Shared<ServiceConfig>>(document);
    record.applied.services = applied.iter().map(service).collect::<Result<_, _>>()?;
    let service = |document: &Vec<u8>| serde_json::from_slice::<Shared<Service>>(document);
    record.state.services = running.iter().map(service).collect::<Result<_, _>>()?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        model::{ArpIgnored, NicName, OwnedVip, RetiredSlot, State},
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

    /// A store whose documents are in memory.
    #[derive(Default)]
    struct Fake {
        saved: Option<Saved>,
        /// Every text that was written; the place of each is its index.
        texts: Vec<Vec<u8>>,
    }

    impl Fake {
        /// Saves a record, and returns how many documents that writes. What is read afterwards is the record.
        fn save(&mut self, record: &Record) -> usize {
            let documents = SavedDocuments::new("/nowhere".into());
            let saved = self.saved.take();
            let store = Store { record: Arc::new(record.clone()), documents, saved };
            let head = head(&mut record.clone()).unwrap();
            let before = self.texts.len();
            let mut places = Vec::new();
            for document in store.changed(record, &head).unwrap() {
                places.push(match document {
                    Document::Kept(place) => place,
                    Document::New(text) => {
                        self.texts.push(text);
                        Place::of_word(self.texts.len() as u64 - 1)
                    }
                });
            }
            let at = |place| (0..).map(Place::of_word).position(|at| at == place).unwrap();
            let texts = places.iter().map(|place| self.texts[at(*place)].clone()).collect();
            assert_eq!(read_saved(&SavedState::Documents(texts)).unwrap(), *record);
            self.saved = Some(Saved { record: store.record, texts: Texts { head, places } });
            self.texts.len() - before
        }
    }

    #[test]
    fn a_change_writes_what_differs_and_the_whole_is_what_is_read() {
        let mut record = record(include_str!("../../../../examples/full.toml"));
        let mut fake = Fake::default();
        let all = 1 + record.applied.services.len() + record.state.services.len();
        assert_eq!(fake.save(&record), all);
        assert_eq!(fake.save(&record), 0);
        record.state.services[0].backends[0].quiesced = true;
        assert_eq!(fake.save(&record), 1);
        record.applied.services[1].fin_count += 1;
        record.state.services[1].config.fin_count += 1;
        assert_eq!(fake.save(&record), 2);
        record.retired_slots.push(RetiredSlot::new(10, 3));
        record.vips.clear();
        assert_eq!(fake.save(&record), 1, "the head");
        record.state.services.reverse();
        record.state.services.push(testing::service("new \"quoted\"", "192.0.2.99", 99).into());
        assert_eq!(fake.save(&record), 1, "a new service; others have moved");
        record.state.services.remove(0);
        assert_eq!(fake.save(&record), 0, "a service that is gone leaves the others as they are");
        record.state.services[0].config.name = "renamed".into();
        assert_eq!(fake.save(&record), 1);
        (record.state, record.applied.services) = (State::default(), Vec::new());
        fake.save(&record);
    }

    /// What a controller saved that knew documents with amendments only.
    #[test]
    fn the_former_format_is_read() {
        #[derive(Deserialize)]
        struct Sample {
            document: serde_json::Value,
            amendments: Vec<serde_json::Value>,
        }
        let sample: Sample = serde_json::from_str(include_str!("amended.json")).unwrap();
        let bytes = |value: &serde_json::Value| value.to_string().into_bytes();
        let amendments = sample.amendments.iter().map(bytes).collect();
        let saved = SavedState::Amended(bytes(&sample.document), amendments);
        let record = read_saved(&saved).unwrap();
        let [web, dns] = &record.state.services[..] else { panic!("two services") };
        let backends = web.backends.iter().map(|b| (b.config.weight, b.quiesced));
        assert_eq!(backends.collect::<Vec<_>>(), [(7, false), (10, true)]);
        assert_eq!((web.rules.len(), dns.backends.len(), record.vips.len()), (1, 1, 2));
        assert_eq!(record.retired_slots.len(), 1);
        assert_eq!(record.applied.services[1].backends.len(), 2, "as in the file");
    }
}
