//! The saved state: what the controller knows and the next one finds, kept with the pinned maps.
//!
//! Each service is a document of its own, as it runs and as the file last had it; everything else is the head. A change writes
//! only the documents that differ from what is saved ([`SavedDocuments`]), and is saved whole or not at all.

use std::{cell::LazyCell, collections::HashMap, mem::take, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize, de::Error as _};

use crate::{
    api::types::ApiError,
    datapath::{Document, Place, SavedDocuments, SavedTexts},
    model::{SavedState, Service, ServiceConfig, Shared},
};

mod amended;

/// The saved state in force, and where it is saved. It reads as a [`SavedState`]; only [`Store::commit`] and [`Store::note`] change it.
#[derive(Debug)]
pub(super) struct Store {
    current: Arc<SavedState>,
    documents: SavedDocuments,
    /// What was last saved by this controller, once something was.
    saved: Option<Saved>,
}

#[derive(Debug)]
struct Saved {
    state: Arc<SavedState>,
    texts: Texts,
}

/// How it is saved.
#[derive(Debug)]
struct Texts {
    /// The head's text.
    head: Vec<u8>,
    /// Places of the head, of the file's services, and of those that run, in this order.
    places: Vec<Place>,
}

/// The first document: a saved state without its services.
#[derive(Serialize, Deserialize)]
struct Head<R> {
    /// How many of the documents that follow are services of the file as last applied; the others are services that run.
    applied_services: usize,
    #[serde(rename = "record")]
    rest: R,
}

impl Deref for Store {
    type Target = SavedState;

    fn deref(&self) -> &SavedState {
        &self.current
    }
}

impl Store {
    /// A store that has not saved anything yet.
    pub(super) fn new(state: SavedState, documents: SavedDocuments) -> Self {
        Self { current: Arc::new(state), documents, saved: None }
    }

    /// Changes the state and saves it. If it cannot be saved, nothing changes.
    pub(super) fn commit(&mut self, change: impl FnOnce(&mut SavedState)) -> Result<(), ApiError> {
        let mut next = SavedState::clone(&self.current);
        change(&mut next);
        let texts = self.save(&mut next)?;
        self.current = Arc::new(next);
        self.saved = Some(Saved { state: Arc::clone(&self.current), texts });
        Ok(())
    }

    /// Changes the state to what has happened, or is about to. If it cannot be saved, it changes in memory, and the next change
    /// saves it.
    pub(super) fn note(&mut self, change: impl Fn(&mut SavedState)) {
        if let Err(error) = self.commit(&change) {
            tracing::error!("the saved state cannot be written: {error}");
            change(Arc::make_mut(&mut self.current));
        }
    }

    fn save(&mut self, next: &mut SavedState) -> Result<Texts, ApiError> {
        let head = head(next)?;
        let documents = self.changed(next, &head)?;
        let places = self.documents.save(&documents)?;
        Ok(Texts { head, places })
    }

    /// All documents of a saved state; those that are saved already stay where they are.
    fn changed(&self, next: &SavedState, head: &[u8]) -> serde_json::Result<Vec<Document>> {
        let (applied, running) = (&next.applied.services, &next.state.services);
        let mut documents = Vec::with_capacity(1 + applied.len() + running.len());
        let Some(Saved { state: saved, texts }) = &self.saved else {
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

/// The head's text: the saved state without its services.
fn head(next: &mut SavedState) -> serde_json::Result<Vec<u8>> {
    let services = (take(&mut next.applied.services), take(&mut next.state.services));
    let head = serde_json::to_vec(&Head { applied_services: services.0.len(), rest: &*next });
    (next.applied.services, next.state.services) = services;
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
    let mut in_order = saved.iter().zip(places);
    let by_name = LazyCell::new(|| {
        saved
            .iter()
            .zip(places)
            .map(|(was, place)| (name(was), (was, place)))
            .collect::<HashMap<_, _>>()
    });
    for service in services {
        let in_place = in_order.next().filter(|(was, _)| name(was) == name(service));
        documents.push(match in_place.or_else(|| by_name.get(name(service)).copied()) {
            Some((was, place)) if was == service => Document::Kept(*place),
            Some(_) | None => Document::New(serde_json::to_vec(service)?),
        });
    }
    Ok(())
}

/// Reads the saved state, as this version or the previous one wrote it.
///
/// # Errors
/// It is not understood.
pub fn read_saved(state: &SavedTexts) -> serde_json::Result<SavedState> {
    let documents = match state {
        SavedTexts::Documents(documents) => documents,
        SavedTexts::Amended(document, amendments) => return amended::read(document, amendments),
    };
    let (head, services) =
        documents.split_first().ok_or_else(|| serde_json::Error::custom("it is empty"))?;
    let Head { applied_services, rest: mut next }: Head<SavedState> = serde_json::from_slice(head)?;
    let (applied, running) = services
        .split_at_checked(applied_services)
        .ok_or_else(|| serde_json::Error::custom("services are missing"))?;
    let service = |document: &Vec<u8>| serde_json::from_slice::<Shared<ServiceConfig>>(document);
    next.applied.services = applied.iter().map(service).collect::<Result<_, _>>()?;
    let service = |document: &Vec<u8>| serde_json::from_slice::<Shared<Service>>(document);
    next.state.services = running.iter().map(service).collect::<Result<_, _>>()?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        model::{ArpIgnored, NicName, OwnedVip, RetiredSlot, State},
        reconcile::{self, testing},
    };

    fn sample(text: &str) -> SavedState {
        let applied = config::parse(text, "test.toml").unwrap();
        let state = reconcile::merge(None, &applied, &State::default(), &[], 7).unwrap();
        SavedState {
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
        /// Saves a state, and returns how many documents that writes. Reading it returns the same state.
        fn save(&mut self, next: &SavedState) -> usize {
            let documents = SavedDocuments::new("/nowhere".into());
            let saved = self.saved.take();
            let store = Store { current: Arc::new(next.clone()), documents, saved };
            let head = head(&mut next.clone()).unwrap();
            let before = self.texts.len();
            let mut places = Vec::new();
            for document in store.changed(next, &head).unwrap() {
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
            assert_eq!(read_saved(&SavedTexts::Documents(texts)).unwrap(), *next);
            self.saved = Some(Saved { state: store.current, texts: Texts { head, places } });
            self.texts.len() - before
        }
    }

    #[test]
    fn a_change_writes_what_differs_and_the_whole_is_what_is_read() {
        let mut next = sample(include_str!("../../../../examples/full.toml"));
        let mut fake = Fake::default();
        let all = 1 + next.applied.services.len() + next.state.services.len();
        assert_eq!(fake.save(&next), all);
        assert_eq!(fake.save(&next), 0);
        next.state.services[0].backends[0].quiesced = true;
        assert_eq!(fake.save(&next), 1);
        next.applied.services[1].fin_count += 1;
        next.state.services[1].config.fin_count += 1;
        assert_eq!(fake.save(&next), 2);
        next.retired_slots.push(RetiredSlot::new(10, 3));
        next.vips.clear();
        assert_eq!(fake.save(&next), 1, "the head");
        next.state.services.reverse();
        next.state.services.push(testing::service("new \"quoted\"", "192.0.2.99", 99).into());
        assert_eq!(fake.save(&next), 1, "a new service; others have moved");
        next.state.services.remove(0);
        assert_eq!(fake.save(&next), 0, "a service that is gone leaves the others as they are");
        next.state.services[0].config.name = "renamed".into();
        assert_eq!(fake.save(&next), 1);
        (next.state, next.applied.services) = (State::default(), Vec::new());
        fake.save(&next);
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
        let saved = SavedTexts::Amended(bytes(&sample.document), amendments);
        let next = read_saved(&saved).unwrap();
        let [web, dns] = &next.state.services[..] else { panic!("two services") };
        let backends = web.backends.iter().map(|b| (b.config.weight, b.quiesced));
        assert_eq!(backends.collect::<Vec<_>>(), [(7, false), (10, true)]);
        assert_eq!((web.rules.len(), dns.backends.len(), next.vips.len()), (1, 1, 2));
        assert_eq!(next.retired_slots.len(), 1);
        assert_eq!(next.applied.services[1].backends.len(), 2, "as in the file");
    }
}
