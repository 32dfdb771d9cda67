//! Fresh start, takeover, NICs that disappear and return, removal.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use dispatcher_common::{connection::Bucket, maps};
use dispatcher_ctl::{
    datapath::{Datapath, Document, Origin, SavedTexts, remove_all, remove_dead_namespaces},
    model::XdpMode,
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};

use super::{
    Pins, array, eventually, in_namespace, ip, map_ids, namespace_dir, only, open, refused,
    settings, tables, veth,
};

#[test]
fn a_new_controller_takes_over_maps_and_link() {
    in_namespace("takeover", |dir| {
        let ifindex = veth();
        let (mut first, origin) = open(dir);
        assert_eq!(origin, Origin::Fresh);
        first.attach(3, "dt0", ifindex, XdpMode::Native).unwrap();
        let changes = first.publish(&tables(ifindex)).unwrap();
        assert!(changes.writes > 10 && changes.missing_interfaces.is_empty(), "{changes:?}");
        save(&first, b"first");
        let before = (only(&first), map_ids(dir), settings(dir).get(&0, 0).unwrap());
        let contents = first.contents().clone();
        assert!(before.2.hash_keys.iter().all(|key| *key != 0));
        // As after SIGKILL: nothing is detached or unpinned.
        drop(first);

        let (mut second, origin) = Datapath::open(dir, 20_000).unwrap();
        assert_eq!(origin, Origin::TakenOver { capacity: 10_000 });
        assert_eq!(second.saved_state().unwrap(), saved(b"first"));
        assert!(*second.contents() == contents, "read back from the kernel");
        assert_eq!(only(&second).index, None);
        second.attach(3, "dt0", ifindex, XdpMode::Native).unwrap();
        let after = (only(&second), map_ids(dir), settings(dir).get(&0, 0).unwrap());
        assert_eq!((before.0.link_id, before.1, before.2), (after.0.link_id, after.1, after.2));
        assert_ne!(before.0.program_id, after.0.program_id);
        assert_eq!(second.publish(&tables(ifindex)).unwrap().writes, 0, "nothing differs");
    });
}

#[test]
fn one_controller_at_a_time() {
    in_namespace("lock", |dir| {
        let (held, _) = open(dir);
        let wanted = format!("another controller (pid {}) holds it", std::process::id());
        assert!(refused(dir).ends_with(&wanted), "{}", refused(dir));
        assert!(remove_all(dir, drop).unwrap_err().to_string().ends_with(&wanted));
        drop(held);
        open(dir);
    });
}

#[test]
fn a_nic_that_comes_back_is_attached_anew() {
    in_namespace("nic", |dir| {
        let first = veth();
        let (mut datapath, _) = open(dir);
        datapath.attach(3, "dt0", first, XdpMode::Native).unwrap();
        datapath.publish(&tables(first)).unwrap();
        let link = only(&datapath).link_id;
        ip("link delete dt0");
        assert_eq!(datapath.attached().unwrap(), []);
        let changes = datapath.publish(&tables(first)).unwrap();
        assert_eq!(changes.missing_interfaces, [3]);
        let second = veth();
        assert_ne!(first, second);
        datapath.attach(3, "dt0", second, XdpMode::Native).unwrap();
        assert_ne!(only(&datapath).link_id, link);
        let changes = datapath.publish(&tables(second)).unwrap();
        assert_eq!(changes.missing_interfaces, [0; 0]);
        assert_eq!(datapath.contents().devices[&3], second);
    });
}

#[test]
fn detach_leaves_the_maps_and_a_change_of_mode_replaces_the_link() {
    in_namespace("mode", |dir| {
        let ifindex = veth();
        let (mut datapath, _) = open(dir);
        datapath.attach(0, "dt0", ifindex, XdpMode::Native).unwrap();
        let native = only(&datapath);
        datapath.attach(0, "dt0", ifindex, XdpMode::Generic).unwrap();
        let generic = only(&datapath);
        assert_eq!((native.mode, generic.mode), (XdpMode::Native, XdpMode::Generic));
        assert_ne!(native.link_id, generic.link_id);
        datapath.detach("dt0").unwrap();
        assert_eq!(datapath.attached().unwrap(), []);
        let error = datapath.detach("dt0").unwrap_err().to_string();
        assert_eq!(error, "interface dt0: not attached");
        assert_eq!(map_ids(dir).len(), maps::ALL.len());
    });
}

#[test]
fn a_program_of_somebody_else_is_left_alone() {
    in_namespace("other", |dir| {
        let ifindex = veth();
        let other = dir.with_file_name(format!("{}-o", dir.file_name().unwrap().display()));
        let other = Pins(other);
        let (mut theirs, _) = open(&other.0);
        theirs.attach(0, "dt0", ifindex, XdpMode::Native).unwrap();
        let (mut ours, _) = open(dir);
        for mode in [XdpMode::Native, XdpMode::Generic] {
            let error = ours.attach(0, "dt0", ifindex, mode).unwrap_err().to_string();
            assert!(error.starts_with("interface dt0: another XDP program"), "{error}");
        }
        drop(theirs);
        drop(other);
        ours.attach(0, "dt0", ifindex, XdpMode::Native).unwrap();
    });
}

#[test]
fn a_driver_without_native_xdp_is_named() {
    in_namespace("driver", |dir| {
        ip("link add dtbr type bridge");
        let ifindex = if_nametoindex("dtbr").unwrap();
        let (mut datapath, _) = open(dir);
        let error = datapath.attach(0, "dtbr", ifindex, XdpMode::Native).unwrap_err().to_string();
        assert!(error.starts_with("interface dtbr: its driver refuses native XDP: "), "{error}");
        assert!(error.ends_with("\nhint: xdp_mode = \"generic\""), "{error}");
        assert_eq!(datapath.attached().unwrap(), []);
        datapath.attach(0, "dtbr", ifindex, XdpMode::Generic).unwrap();
    });
}

#[test]
fn another_layout_is_refused_and_can_be_removed() {
    in_namespace("layout", |dir| {
        let ifindex = veth();
        let (mut datapath, _) = open(dir);
        datapath.attach(0, "dt0", ifindex, XdpMode::Native).unwrap();
        drop(datapath);
        let ours = maps::LAYOUT_VERSION;
        set_version(dir, ours - 2);
        let wanted = format!(
            ": layout version {}, this controller has {ours}\nhint: dispatcher detach --all",
            ours - 2
        );
        assert!(refused(dir).ends_with(&wanted), "{}", refused(dir));
        set_version(dir, ours + 1);
        let wanted = format!(
            ": layout version {} of a newer release, this one has {ours} and takes over none newer\n\
             hint: start the newer release; to go back to this one: dispatcher detach --all, which ends all connections",
            ours + 1
        );
        assert!(refused(dir).ends_with(&wanted), "{}", refused(dir));
        remove_all(dir, |state| assert_eq!(state, None)).unwrap();
        assert_eq!(open(dir).1, Origin::Fresh);
    });
}

fn set_version(dir: &Path, version: u64) {
    let mut map = settings(dir);
    let mut value = map.get(&0, 0).unwrap();
    value.layout_version = version;
    map.set(0, value, 0).unwrap();
}

#[test]
fn the_layout_before_is_taken_over_with_all_it_holds() {
    in_namespace("before", |dir| {
        let ifindex = veth();
        let (mut datapath, _) = open(dir);
        datapath.attach(0, "dt0", ifindex, XdpMode::Native).unwrap();
        let program = datapath.attached().unwrap()[0].program_id;
        drop(datapath);
        let mut bucket = Bucket::ZERO;
        bucket.ways[3] = 0xC000_0000_0000_8005;
        array::<Bucket>(dir, maps::CONNECTIONS).set(1, bucket, 0).unwrap();
        let keys = settings(dir).get(&0, 0).unwrap().hash_keys;
        set_version(dir, maps::LAYOUT_BEFORE);
        let (mut datapath, origin) = open(dir);
        assert!(matches!(origin, Origin::TakenOver { .. }), "{origin:?}");
        // The version changes before the program is replaced: an older controller refuses from then on.
        let settings = settings(dir).get(&0, 0).unwrap();
        assert_eq!((settings.layout_version, settings.hash_keys), (maps::LAYOUT_VERSION, keys));
        assert_eq!(datapath.attached().unwrap()[0].program_id, program);
        datapath.attach(0, "dt0", ifindex, XdpMode::Native).unwrap();
        assert_ne!(datapath.attached().unwrap()[0].program_id, program);
        let held = array::<Bucket>(dir, maps::CONNECTIONS).get(&1, 0).unwrap();
        assert_eq!(held.ways, bucket.ways);
        drop(datapath);
        assert!(matches!(open(dir).1, Origin::TakenOver { .. }));
    });
}

#[test]
fn a_set_up_cut_short_is_made_anew_unless_attached() {
    in_namespace("half", |dir| {
        let ifindex = veth();
        drop(open(dir));
        let keys = settings(dir).get(&0, 0).unwrap().hash_keys;
        std::fs::remove_file(namespace_dir(dir).join(maps::FLOWS)).unwrap();
        let (mut datapath, origin) = open(dir);
        assert_eq!(origin, Origin::Fresh);
        assert_ne!(settings(dir).get(&0, 0).unwrap().hash_keys, keys);
        datapath.attach(0, "dt0", ifindex, XdpMode::Native).unwrap();
        drop(datapath);
        std::fs::remove_file(namespace_dir(dir).join(maps::FLOWS)).unwrap();
        let error = refused(dir);
        assert!(error.contains("FLOWS missing, while a program is attached\nhint:"), "{error}");
    });
}

/// Makes this document the saved state.
fn save(datapath: &Datapath, text: &[u8]) {
    datapath.saved_documents().save(&[Document::New(text.to_vec())]).unwrap();
}

fn saved(text: &[u8]) -> Option<SavedTexts> {
    Some(SavedTexts::Documents(vec![text.to_vec()]))
}

#[test]
fn the_saved_state_is_replaced_whole() {
    in_namespace("record", |dir| {
        let (datapath, _) = open(dir);
        assert_eq!(datapath.saved_state().unwrap(), None);
        let mut documents = datapath.saved_documents();
        let (mut all, mut wanted) = (Vec::new(), Vec::new());
        // Around the sizes of a word and of an array element, a large one, and one that fits behind it.
        for length in [0, 1, 7, 8, 9, 4087, 4088, 4089, 3_000_000, 5] {
            let text: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
            wanted.push(text.clone());
            all.push(Document::New(text));
            let places = documents.save(&all).unwrap();
            all = places.into_iter().map(Document::Kept).collect();
            let saved = datapath.saved_state().unwrap().unwrap();
            assert!(saved == SavedTexts::Documents(wanted.clone()), "{length} bytes");
        }
        // Somebody died after pinning the next one.
        let pins = namespace_dir(dir);
        std::fs::rename(pins.join("RECORD"), pins.join("RECORD_NEXT")).unwrap();
        save(&datapath, b"whole");
        assert_eq!(datapath.saved_state().unwrap(), saved(b"whole"));
        assert!(!pins.join("RECORD_NEXT").exists());
    });
}

#[test]
fn removal_leaves_nothing() {
    in_namespace("remove", |dir| {
        let ifindex = veth();
        let (mut datapath, _) = open(dir);
        datapath.attach(0, "dt0", ifindex, XdpMode::Native).unwrap();
        save(&datapath, b"vips");
        let (attached, maps) = (only(&datapath), map_ids(dir));
        drop(datapath);
        let mut found = None;
        remove_all(dir, |state| found = state).unwrap();
        assert_eq!(found, saved(b"vips"));
        assert!(!dir.exists());
        // Programs of other tests may disappear while they are listed.
        let links = || aya::programs::loaded_links().flatten().map(|link| link.id());
        let programs = || aya::programs::loaded_programs().flatten().map(|program| program.id());
        let loaded = || aya::maps::loaded_maps().flatten().map(|map| map.id());
        eventually("the link goes", || !links().any(|id| id == attached.link_id));
        eventually("the program goes", || !programs().any(|id| id == attached.program_id));
        eventually("the maps go", || !loaded().any(|id| maps.contains(&id)));
        remove_all(dir, |state| assert_eq!(state, None)).unwrap();
    });
}

/// A controller starts and ends in a network namespace of its own, attached to a NIC that is then removed. The
/// namespace stays until the sender is dropped.
fn namespace_without_controller(dir: &Path) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (stay, until) = mpsc::channel::<()>();
    let (left, has_left) = mpsc::channel();
    let dir = dir.to_owned();
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let ifindex = veth();
        let (mut datapath, _) = open(&dir);
        datapath.attach(0, "dt0", ifindex, XdpMode::Native).unwrap();
        drop(datapath);
        ip("link del dt0");
        left.send(()).unwrap();
        // An error: the other end is gone.
        let _ended = until.recv();
    });
    has_left.recv().unwrap();
    (stay, thread)
}

#[test]
fn what_a_dead_namespace_left_is_removed_and_nothing_else() {
    in_namespace("namespaces", |dir| {
        let (ours, _) = open(dir);
        let own = namespace_dir(dir);
        let others = |but: &[PathBuf]| -> Vec<PathBuf> {
            let all = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            all.filter(|path| !but.contains(path)).collect()
        };
        let (stay, living) = namespace_without_controller(dir);
        let idle = others(std::slice::from_ref(&own));
        let (go, dying) = namespace_without_controller(dir);
        let dead = others(&[own.clone(), idle[0].clone()]);
        assert_eq!((idle.len(), dead.len()), (1, 1));
        // Neither has a controller or a NIC; but one of the namespaces still exists.
        assert!(remove_dead_namespaces(dir).unwrap().is_empty());
        drop(go);
        dying.join().unwrap();
        let mut removed = Vec::new();
        eventually("the dead one is found", || {
            removed = remove_dead_namespaces(dir).unwrap();
            !removed.is_empty()
        });
        assert_eq!(removed, dead);
        assert!(!dead[0].exists() && idle[0].exists() && own.exists());
        drop(stay);
        living.join().unwrap();
        eventually("the other one is found when it is dead", || {
            !remove_dead_namespaces(dir).unwrap().is_empty()
        });
        drop(ours);
    });
}
