//! Goal: bulk work is eventually complete even if it is interrupted, and heartbeats are stored meanwhile.
//! Method: a real store on disk, driven by tasks of one thread so that runs are deterministic; a store that fails after a number of
//! commits, as if the process had died, and is reopened.

use ks_protocol::{id::Sequence, key::PrivateKey, time::UnixMs};

use super::*;
use crate::{
    config::{Locking, SqliteUse, Synchronous},
    metrics::Metrics,
    rules,
    store::{
        Damage, SqliteReader, SqliteStore, Store, Transaction,
        audit::{
            AuditFilter, AuditReads,
            chain::{GENESIS, line_hash},
        },
        commands::{AckBatch, CommandFilter, CommandReads},
        devices::{DeviceEdit, DeviceReads, Registration, Selector, Sender},
        writer,
    },
};

const AT: UnixMs = UnixMs(1_800_000_000_000);
/// Three chunks, the last one not full.
/// The first device, with its first key.
const FIRST: Sender = Sender { row: 1, key_no: 1 };
const DEVICES: usize = 2 * CHUNK_DEVICES + 50;

struct Clock;

impl crate::clock::Clock for Clock {
    fn now(&self) -> UnixMs {
        AT
    }
}

fn by() -> Actor {
    Actor { name: "tester".to_owned(), address: None, at: AT }
}

fn key(number: usize) -> PrivateKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    PrivateKey::from_seed(&seed)
}

fn device(number: usize) -> NewDevice {
    NewDevice {
        line: number as u64 + 2,
        device_id: format!("KS-{number:05}").parse().unwrap(),
        public_key: key(number).public_key(),
        serial: format!("S{number}"),
        manufacturer: "Acme".to_owned(),
        model: "KS-100".to_owned(),
        site: "north".to_owned(),
    }
}

fn inventory() -> Vec<NewDevice> {
    (0..DEVICES).map(device).collect()
}

fn order_for_all(token: &str) -> NewOrder {
    NewOrder {
        order_id: format!("o-{token}").parse().unwrap(),
        id_seed: [9; 32],
        client_token: Some(token.to_owned()),
        request_sha256: [1; 32],
        which: Selector::default(),
        kind: "reboot".to_owned(),
        argument: String::new(),
        is_urgent: false,
        deadline_at: AT + Duration::from_hours(1),
    }
}

/// A store whose process dies: from then on nothing is committed, and no query is answered.
struct DyingStore {
    store: SqliteStore,
    commits_left: usize,
}

impl Store for DyingStore {
    fn commit(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.commits_left = self.commits_left.checked_sub(1).ok_or(StoreError::Closed)?;
        self.store.commit(group)
    }

    fn leave_files(&mut self) {
        self.store.leave_files();
    }
}

struct Database(tempfile::TempDir);

impl Database {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Opens it, runs `work`, and makes it fail after `commits` commits.
    fn with<T>(&self, commits: usize, work: impl AsyncFnOnce(Writer, Reader) -> T) -> T {
        let path = self.0.path().join("ks.sqlite");
        let store = SqliteStore::open(&path, SqliteUse::shared(Synchronous::Off), AT).unwrap();
        let store = DyingStore { store, commits_left: commits };
        let (writer, writes) = writer::writer(64, &Damage::default());
        let (reader, questions) = writer::reader(64, &Damage::default());
        let asked = SqliteReader::open(&path, Locking::Shared).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let writing = writer::drive_writes(store, writes, 64, Arc::new(Metrics::default()));
            let reading = writer::drive_reads(asked, questions);
            tokio::join!(work(writer, reader), writing, reading).0
        })
    }

    fn read(&self) -> SqliteReader {
        SqliteReader::open(&self.0.path().join("ks.sqlite"), Locking::Shared).unwrap()
    }

    fn devices(&self) -> usize {
        self.read().devices(&Selector::default(), 0, usize::MAX).unwrap().len()
    }

    fn commands(&self) -> Vec<String> {
        let commands = self.read().commands(&CommandFilter::default(), 0, usize::MAX).unwrap();
        commands.into_iter().map(|command| command.device_id.to_string()).collect()
    }

    /// Subject and detail of the audit entries of an action, after verifying the chain.
    fn audit(&self, action: &str) -> Vec<(String, String)> {
        let lines = self.read().audit(&AuditFilter::default(), 0, usize::MAX).unwrap();
        let mut previous = GENESIS;
        for line in &lines {
            assert_eq!(line.hash, line_hash(&previous, line), "line {}", line.number);
            previous = line.hash;
        }
        lines.into_iter().filter(|line| line.action == action).map(|line| (line.subject, line.detail)).collect()
    }

    fn import(&self, commits: usize) -> Result<Imported, ImportStopped> {
        self.with(commits, async |writer, reader| import(&writer, &reader, inventory(), &by(), Duration::ZERO).await)
    }
}

#[test]
fn repeating_an_interrupted_import_completes_it() {
    let database = Database::new();
    let stopped = database.import(1).unwrap_err();
    assert_eq!((stopped.done.added, &stopped.why), (CHUNK_DEVICES, &StopReason::Store(StoreError::Closed)));
    assert!(stopped.partial_import().unwrap().contains("500 devices of this inventory"));
    assert_eq!(database.devices(), CHUNK_DEVICES);
    assert_eq!(database.audit("device.import"), [("500 devices".to_owned(), "rows 1 to 500 of 1050".to_owned())]);
    let finished = Imported { added: DEVICES - CHUNK_DEVICES, unchanged: CHUNK_DEVICES, revoked: 0 };
    assert_eq!(database.import(99), Ok(finished));
    assert_eq!(database.devices(), DEVICES);
    let lines = database.audit("device.import");
    let audited: usize =
        lines.iter().map(|(subject, _)| subject.strip_suffix(" devices").unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!((audited, lines.len()), (DEVICES, 4), "each device is in one entry");
    assert_eq!(database.import(99), Ok(Imported { added: 0, unchanged: DEVICES, revoked: 0 }));
}

#[test]
fn an_import_with_one_conflicting_row_imports_nothing() {
    let database = Database::new();
    database.with(99, async |writer, reader| {
        let last = NewDevice { site: "elsewhere".to_owned(), ..device(DEVICES - 1) };
        import(&writer, &reader, vec![last], &by(), Duration::ZERO).await.unwrap();
        let stopped = import(&writer, &reader, inventory(), &by(), Duration::ZERO).await.unwrap_err();
        let StopReason::Rows(problems) = stopped.why else { panic!() };
        assert_eq!((problems.len(), problems[0].field, stopped.done), (1, "site", Imported::default()));
    });
    assert_eq!(database.devices(), 1);
}

#[test]
fn concurrent_imports_import_each_device_once() {
    let database = Database::new();
    let (one, other) = database.with(99, async |writer, reader| {
        let again = || async { import(&writer, &reader, inventory(), &by(), Duration::ZERO).await.unwrap() };
        tokio::join!(again(), again())
    });
    assert_eq!(one.added + other.added, DEVICES);
    assert_eq!(one.unchanged + other.unchanged, DEVICES);
    assert_eq!(database.devices(), DEVICES);
}

#[test]
fn an_import_that_conflicts_with_a_concurrent_change_stops_with_an_error() {
    let database = Database::new();
    database.with(99, async |writer, reader| {
        // The last device exists unchanged, so the check passes; then it moves to another site before its chunk.
        import(&writer, &reader, vec![device(DEVICES - 1)], &by(), Duration::ZERO).await.unwrap();
        let last = device(DEVICES - 1).device_id;
        let moves = async {
            while reader.ask(|store| store.device(&device(0).device_id)).await.unwrap().is_none() {
                tokio::task::yield_now().await;
            }
            let edit = DeviceEdit { site: Some("south".to_owned()), labels: None };
            writer.write(move |store| rules::devices::edit(store, &last, &edit, None, &by())).await.unwrap().unwrap();
        };
        // The pause leaves time for the move before the next chunk; the paused timer advances only when all tasks are idle.
        let tester = by();
        let importing = import(&writer, &reader, inventory(), &tester, Duration::from_secs(1));
        let (stopped, ()) = tokio::join!(importing, moves);
        let stopped = stopped.unwrap_err();
        let StopReason::Rows(problems) = &stopped.why else { panic!("{stopped:?}") };
        assert_eq!((problems[0].field, stopped.done.added), ("site", 2 * CHUNK_DEVICES));
        assert!(stopped.partial_import().is_some());
    });
}

#[test]
fn the_server_finishes_an_interrupted_order() {
    let database = Database::new();
    database.import(99).unwrap();
    let died = database.with(2, async |writer, _| order(&writer, &Clock, order_for_all("a"), &by()).await);
    assert_eq!(died, Err(StoreError::Closed));
    assert_eq!(database.commands().len(), 2 * CHUNK_DEVICES);
    let progress = database.read().order_progress(&"o-a".parse().unwrap()).unwrap().unwrap();
    assert!(!progress.is_whole);
    let finished = database.with(99, async |writer, reader| {
        let finished = finish_oldest(&writer, &reader, &Clock).await.unwrap();
        assert_eq!(finish_oldest(&writer, &reader, &Clock).await, Ok(None));
        finished.unwrap()
    });
    assert_eq!((finished.queued, finished.is_whole), (DEVICES, true));
    assert_one_command_per_device(&database);
}

#[test]
fn repeating_an_interrupted_order_completes_it() {
    let database = Database::new();
    database.import(99).unwrap();
    database.with(1, async |writer, _| order(&writer, &Clock, order_for_all("a"), &by()).await).unwrap_err();
    let again = NewOrder { order_id: "o-new".parse().unwrap(), id_seed: [3; 32], ..order_for_all("a") };
    let done = database.with(99, async |writer, _| order(&writer, &Clock, again, &by()).await).unwrap().unwrap();
    assert_eq!((done.order_id.as_str(), done.queued), ("o-a", DEVICES));
    assert!(done.is_repeated && done.is_whole);
    assert_one_command_per_device(&database);
}

#[test]
fn concurrent_repeats_of_an_order_queue_each_command_once() {
    let database = Database::new();
    database.import(99).unwrap();
    database.with(99, async |writer, reader| {
        let again = || async { order(&writer, &Clock, order_for_all("a"), &by()).await.unwrap().unwrap() };
        let (one, other, _) = tokio::join!(again(), again(), finish_oldest(&writer, &reader, &Clock));
        assert_eq!((one.queued, other.queued), (DEVICES, DEVICES));
        assert_eq!([one.is_repeated, other.is_repeated].iter().filter(|is_repeated| **is_repeated).count(), 1);
    });
    assert_one_command_per_device(&database);
}

fn assert_one_command_per_device(database: &Database) {
    let mut devices = database.commands();
    devices.sort();
    assert!(devices.iter().map(String::as_str).eq(inventory().iter().map(|device| device.device_id.as_str())));
    let lines: Vec<_> = database.audit("command.order").into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(lines, ["500 devices", "500 devices", "50 devices"]);
}

/// Runs `work` and records heartbeats one after the other meanwhile. Returns how many were stored in the middle of the work, by
/// `progress`.
async fn heartbeats_during(
    writer: &Writer,
    boot_epoch: u32,
    work: impl Future<Output = ()>,
    progress: impl AsyncFn() -> usize,
) -> usize {
    let is_over = std::cell::Cell::new(false);
    let beats = async {
        let mut between = 0;
        let mut seq = 1;
        while !is_over.get() {
            seq += 1;
            let (device_id, sequence) = (device(0).device_id, Sequence::new(boot_epoch, seq));
            writer.hot(FIRST, AckBatch { device_id, sequence, acks: Vec::new(), at: AT }).await.unwrap().unwrap();
            between += usize::from((1..DEVICES).contains(&progress().await));
        }
        between
    };
    let work = async {
        work.await;
        is_over.set(true);
    };
    tokio::join!(beats, work).0
}

#[test]
fn heartbeats_are_stored_between_the_chunks_of_an_import_and_an_order() {
    let database = Database::new();
    database.with(99_999, async |writer, reader| {
        import(&writer, &reader, vec![device(0)], &by(), Duration::ZERO).await.unwrap();
        let registration = Registration {
            device_id: device(0).device_id,
            public_key: key(0).public_key(),
            sequence: Sequence::new(1, 1),
            otrt_sha256: None,
            otrt_required: false,
        };
        writer.write(move |store| rules::devices::register(store, &registration, &by())).await.unwrap().unwrap();
        let importing = async {
            import(&writer, &reader, inventory(), &by(), Duration::ZERO).await.unwrap();
        };
        let imported =
            async || reader.ask(|store| Ok(store.devices(&Selector::default(), 1, usize::MAX)?.len())).await.unwrap();
        assert!(
            heartbeats_during(&writer, 2, importing, imported).await > 0,
            "no heartbeat was stored during the import"
        );
    });
    database.with(99_999, async |writer, reader| {
        let ordering = async {
            order(&writer, &Clock, order_for_all("a"), &by()).await.unwrap().unwrap();
        };
        let ordered = async || {
            reader.ask(|store| Ok(store.commands(&CommandFilter::default(), 0, usize::MAX)?.len())).await.unwrap()
        };
        assert!(heartbeats_during(&writer, 3, ordering, ordered).await > 0, "no heartbeat was stored during the order");
    });
}
