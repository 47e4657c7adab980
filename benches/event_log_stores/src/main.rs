//! What should the embedded event log stand on? Compares candidates on its write pattern alone: appends
//! with group commit and fsync from 256 writers, an ordered scan, dropping the oldest segment, and opening
//! after `kill -9`.
//!
//! `cargo run --release [-- STORE…]`; the data goes to `$TMPDIR`, which must be a real disk.

use std::{
    error::Error,
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PARTITIONS: u64 = 4;
const WRITERS: usize = 256;
const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;
const RUN: Duration = Duration::from_secs(5);
const STORES: [&str; 5] = ["raw", "fjall", "sqlite-4k", "sqlite-16k", "sqlite-32k"];

/// A store on its write pattern: batches in, segments that roll and are dropped whole.
trait Store: Send {
    /// Writes `(partition, offset, body)` and returns once they are on disk.
    fn append(&mut self, batch: &[(u64, u64, Arc<[u8]>)]) -> Outcome<()>;
    /// Reads everything in order; returns bytes.
    fn scan(&mut self) -> Outcome<u64>;
    /// Closes the segment that is written and starts the next.
    fn roll(&mut self) -> Outcome<()>;
    /// Deletes the oldest closed segment.
    fn drop_oldest(&mut self) -> Outcome<()>;
    /// The number of records that are readable.
    fn records(&mut self) -> Outcome<u64>;
}

fn open(kind: &str, dir: &Path) -> Outcome<Box<dyn Store>> {
    Ok(match kind {
        "raw" => Box::new(Raw::open(dir)?),
        "fjall" => Box::new(Fjall::open(dir)?),
        _ => {
            let kib = kind.trim_start_matches("sqlite-").trim_end_matches('k').parse::<u32>()?;
            Box::new(Sqlite::open(dir, kib * 1024)?)
        }
    })
}

fn segments(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut paths: Vec<_> = fs::read_dir(dir)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "segment"));
    paths.sort();
    Ok(paths)
}

/// `length, crc32, partition, offset, body` one after the other.
struct Raw {
    dir: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl Raw {
    fn open(dir: &Path) -> Outcome<Self> {
        let path = segments(dir)?.pop().unwrap_or_else(|| dir.join("000000.segment"));
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { dir: dir.to_owned(), file, buffer: Vec::new() })
    }

    fn walk(&self) -> Outcome<(u64, u64)> {
        let (mut records, mut bytes) = (0, 0);
        for path in segments(&self.dir)? {
            let mut reader = std::io::BufReader::with_capacity(1 << 20, File::open(path)?);
            let (mut head, mut body) = ([0; 24], Vec::new());
            while reader.read_exact(&mut head).is_ok() {
                body.resize(u32::from_le_bytes(head[..4].try_into()?) as usize, 0);
                if reader.read_exact(&mut body).is_err() || crc32fast::hash(&body).to_le_bytes() != head[4..8] {
                    break; // The torn tail of a crash.
                }
                records += 1;
                bytes += body.len() as u64;
            }
        }
        Ok((records, bytes))
    }
}

impl Store for Raw {
    fn append(&mut self, batch: &[(u64, u64, Arc<[u8]>)]) -> Outcome<()> {
        self.buffer.clear();
        for (partition, offset, body) in batch {
            self.buffer.extend(u32::try_from(body.len())?.to_le_bytes());
            self.buffer.extend(crc32fast::hash(body).to_le_bytes());
            self.buffer.extend(partition.to_le_bytes());
            self.buffer.extend(offset.to_le_bytes());
            self.buffer.extend(body.iter());
        }
        self.file.write_all(&self.buffer)?;
        Ok(self.file.sync_data()?)
    }
    fn scan(&mut self) -> Outcome<u64> {
        Ok(self.walk()?.1)
    }
    fn roll(&mut self) -> Outcome<()> {
        let path = self.dir.join(format!("{:06}.segment", segments(&self.dir)?.len()));
        self.file = File::options().create(true).append(true).open(path)?;
        Ok(File::open(&self.dir)?.sync_all()?)
    }
    fn drop_oldest(&mut self) -> Outcome<()> {
        Ok(fs::remove_file(&segments(&self.dir)?[0])?)
    }
    fn records(&mut self) -> Outcome<u64> {
        Ok(self.walk()?.0)
    }
}

struct Fjall {
    db: fjall::Database,
    segments: Vec<fjall::Keyspace>,
}

impl Fjall {
    fn open(dir: &Path) -> Outcome<Self> {
        let db = fjall::Database::builder(dir).open()?;
        let mut names: Vec<String> = db.list_keyspace_names().iter().map(|name| name.to_string()).collect();
        names.sort();
        if names.is_empty() {
            names.push("000000".to_owned());
        }
        let segments = names.iter().map(|name| Self::keyspace(&db, name)).collect::<Outcome<_>>()?;
        Ok(Self { db, segments })
    }
    fn keyspace(db: &fjall::Database, name: &str) -> Outcome<fjall::Keyspace> {
        // Bodies are written once and deleted as a whole: keys and values apart save the compactions.
        let options =
            || fjall::KeyspaceCreateOptions::default().with_kv_separation(Some(fjall::KvSeparationOptions::default()));
        Ok(db.keyspace(name, options)?)
    }
}

impl Store for Fjall {
    fn append(&mut self, batch: &[(u64, u64, Arc<[u8]>)]) -> Outcome<()> {
        let mut write = self.db.batch().durability(Some(fjall::PersistMode::SyncData));
        let keyspace = self.segments.last().ok_or("no segment")?;
        for (partition, offset, body) in batch {
            let key = [partition.to_be_bytes(), offset.to_be_bytes()].concat();
            write.insert(keyspace, key, body.as_ref());
        }
        Ok(write.commit()?)
    }
    fn scan(&mut self) -> Outcome<u64> {
        let mut bytes = 0;
        for keyspace in &self.segments {
            for guard in keyspace.iter() {
                bytes += guard.value()?.len() as u64;
            }
        }
        Ok(bytes)
    }
    fn roll(&mut self) -> Outcome<()> {
        let name = format!("{:06}", self.segments.len());
        self.segments.push(Self::keyspace(&self.db, &name)?);
        Ok(())
    }
    fn drop_oldest(&mut self) -> Outcome<()> {
        Ok(self.db.delete_keyspace(self.segments.remove(0))?)
    }
    fn records(&mut self) -> Outcome<u64> {
        self.segments.iter().map(|keyspace| Ok(keyspace.len()? as u64)).sum()
    }
}

/// A database file per segment, a table per partition whose rowid is the offset.
struct Sqlite {
    dir: PathBuf,
    db: rusqlite::Connection,
    page_bytes: u32,
}

impl Sqlite {
    fn open(dir: &Path, page_bytes: u32) -> Outcome<Self> {
        let path = segments(dir)?.pop().unwrap_or_else(|| dir.join("000000.segment"));
        Ok(Self { dir: dir.to_owned(), db: Self::segment(&path, page_bytes)?, page_bytes })
    }
    fn segment(path: &Path, page_bytes: u32) -> Outcome<rusqlite::Connection> {
        let db = rusqlite::Connection::open(path)?;
        let checkpoint_pages = 16 * 1024 * 1024 / page_bytes;
        db.execute_batch(&format!(
            "PRAGMA page_size = {page_bytes}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = {checkpoint_pages};"
        ))?;
        for partition in 0..PARTITIONS {
            db.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS p{partition} (offset INTEGER PRIMARY KEY, crc INTEGER, body BLOB)"
            ))?;
        }
        Ok(db)
    }
    fn each(&self, sql: &str, mut see: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>) -> Outcome<()> {
        for path in segments(&self.dir)? {
            let db = rusqlite::Connection::open(path)?;
            for partition in 0..PARTITIONS {
                let mut statement = db.prepare(&sql.replace("TABLE", &format!("p{partition}")))?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    see(row)?;
                }
            }
        }
        Ok(())
    }
}

impl Store for Sqlite {
    fn append(&mut self, batch: &[(u64, u64, Arc<[u8]>)]) -> Outcome<()> {
        let transaction = self.db.transaction()?;
        for (partition, offset, body) in batch {
            transaction.prepare_cached(&format!("INSERT INTO p{partition} VALUES (?, ?, ?)"))?.execute((
                i64::try_from(*offset)?,
                crc32fast::hash(body),
                body.as_ref(),
            ))?;
        }
        Ok(transaction.commit()?)
    }
    fn scan(&mut self) -> Outcome<u64> {
        let mut bytes = 0;
        self.each("SELECT body FROM TABLE ORDER BY offset", |row| {
            bytes += row.get_ref(0)?.as_blob()?.len() as u64;
            Ok(())
        })?;
        Ok(bytes)
    }
    fn roll(&mut self) -> Outcome<()> {
        let path = self.dir.join(format!("{:06}.segment", segments(&self.dir)?.len()));
        self.db = Self::segment(&path, self.page_bytes)?;
        Ok(File::open(&self.dir)?.sync_all()?)
    }
    fn drop_oldest(&mut self) -> Outcome<()> {
        Ok(fs::remove_file(&segments(&self.dir)?[0])?)
    }
    fn records(&mut self) -> Outcome<u64> {
        let mut records = 0;
        self.each("SELECT count(*) FROM TABLE", |row| {
            records += row.get::<_, i64>(0)? as u64;
            Ok(())
        })?;
        Ok(records)
    }
}

/// 256 writers for `run`; returns the store, records and the sorted latencies of their acknowledgements.
fn load(mut store: Box<dyn Store>, size: usize, run: Duration) -> Outcome<(Box<dyn Store>, u64, Vec<Duration>)> {
    type Append = (u64, Arc<[u8]>, oneshot::Sender<()>);
    let (sender, mut receiver) = mpsc::channel::<Append>(WRITERS);
    let writer = std::thread::spawn(move || -> Outcome<(Box<dyn Store>, u64)> {
        let (mut waiting, mut next, mut records, mut bytes) = (Vec::new(), [0; PARTITIONS as usize], 0, 0);
        while receiver.blocking_recv_many(&mut waiting, 4096) > 0 {
            let mut batch = Vec::with_capacity(waiting.len());
            for (partition, body, _) in &waiting {
                batch.push((*partition, next[*partition as usize], Arc::clone(body)));
                next[*partition as usize] += 1;
                bytes += body.len() as u64;
            }
            store.append(&batch)?;
            records += batch.len() as u64;
            for (_, _, done) in waiting.drain(..) {
                let _ = done.send(()); // A writer that has gone needs no answer.
            }
            if bytes > SEGMENT_BYTES {
                bytes = 0;
                store.roll()?;
            }
        }
        Ok((store, records))
    });
    // Incompressible, as gzip'd or encrypted bodies are: no store gets to win by compressing.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let body: Arc<[u8]> = (0..size)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let started = Instant::now();
    let tasks: Vec<_> = (0..WRITERS as u64)
        .map(|writer| {
            let (sender, body) = (sender.clone(), Arc::clone(&body));
            runtime.spawn(async move {
                let mut latencies = Vec::new();
                while started.elapsed() < run {
                    let (done, acknowledged) = oneshot::channel();
                    let sent = Instant::now();
                    if sender.send((writer % PARTITIONS, Arc::clone(&body), done)).await.is_err() {
                        break;
                    }
                    if acknowledged.await.is_ok() {
                        latencies.push(sent.elapsed());
                    }
                }
                latencies
            })
        })
        .collect();
    drop(sender);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(runtime.block_on(task)?);
    }
    let (store, records) = writer.join().map_err(|_| "the writer panicked")??;
    latencies.sort();
    Ok((store, records, latencies))
}

fn measure(kind: &str) -> Outcome<()> {
    let mut cells = vec![kind.to_owned()];
    for size in [4 * 1024, 20 * 1024] {
        let dir = tempfile::tempdir()?;
        let (mut store, records, latencies) = load(open(kind, dir.path())?, size, RUN)?;
        let p99 = latencies[latencies.len() * 99 / 100];
        cells.push(format!("{:.0}", records as f64 / RUN.as_secs_f64()));
        cells.push(format!("{:.1} ms", p99.as_secs_f64() * 1e3));
        if size == 4 * 1024 {
            let started = Instant::now();
            let bytes = store.scan()?;
            cells.push(format!("{:.0} MB/s", bytes as f64 / 1e6 / started.elapsed().as_secs_f64()));
            let started = Instant::now();
            store.drop_oldest()?;
            cells.push(format!("{:.1} ms", started.elapsed().as_secs_f64() * 1e3));
        }
    }
    let dir = tempfile::tempdir()?;
    let mut child =
        Command::new(std::env::current_exe()?).args(["fill", kind]).arg(dir.path()).stdout(Stdio::null()).spawn()?;
    std::thread::sleep(Duration::from_secs(3));
    child.kill()?; // SIGKILL
    child.wait()?;
    let started = Instant::now();
    let mut store = open(kind, dir.path())?;
    let opened = started.elapsed();
    let records = store.records()?; // For raw files this scan is the recovery.
    let counted = started.elapsed();
    cells.push(format!("{:.0} ms", opened.as_secs_f64() * 1e3));
    cells.push(format!("{:.0} ms ({records} records)", counted.as_secs_f64() * 1e3));
    println!("| {} |", cells.join(" | "));
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, kind, dir] = arguments.as_slice()
        && verb == "fill"
    {
        load(open(kind, Path::new(dir))?, 4 * 1024, Duration::from_secs(60))?;
        return Ok(());
    }
    println!("| store | 4 KB /s | p99 | scan | drop a segment | 20 KB /s | p99 | open after kill | and count |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for kind in STORES.iter().filter(|kind| arguments.is_empty() || arguments.iter().any(|a| a == *kind)) {
        measure(kind)?;
    }
    Ok(())
}
