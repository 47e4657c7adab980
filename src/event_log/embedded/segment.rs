//! Segment files: one SQLite database each, with a table per partition whose rowid is the offset.
//!
//! A table grows at its end alone, so SQLite only ever appends pages to it, and reading in order is a plain
//! table scan. Tables are made when their partition first gets a record in the segment.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{
    slots::Slots,
    store_error::{StoreError, from_sql, to_sql},
};

/// The layout of segment files, in `PRAGMA user_version`.
const FORMAT_VERSION: i64 = 1;

/// Measured: see the module documentation of the embedded log.
const PAGE_BYTES: u32 = 16 * 1024;

/// SQLite moves the WAL into the file when it has this many pages (16 MiB), which bounds recovery as well.
const WAL_CHECKPOINT_PAGES: u32 = 1024;

const PREFIX: &str = "segment-";
const SUFFIX: &str = ".sqlite";
/// A segment is made under another name, so that a half-made one is never taken for a segment.
const UNFINISHED_SUFFIX: &str = ".sqlite.tmp";
/// Files that SQLite keeps beside a database.
const COMPANION_SUFFIXES: [&str; 2] = ["-wal", "-shm"];

/// No record has this timestamp: the slot is empty in the segment.
pub(super) const NO_TIMESTAMP: i64 = i64::MIN;

/// What a segment file holds, by slot index.
pub(super) struct Contents {
    /// The first offset that may stand in this segment.
    pub(super) bases: Vec<u64>,
    /// The newest timestamp, or [`NO_TIMESTAMP`].
    pub(super) newest_ms: Vec<i64>,
    /// The offset after the last one in this segment; for a sealed segment the next one's bases are as good.
    pub(super) ends: Vec<u64>,
    /// Bytes of payload; 0 for a sealed segment, where nobody asks.
    pub(super) payload_bytes: u64,
    /// No record will be added.
    pub(super) is_sealed: bool,
}

/// The file of segment `id`.
pub(super) fn path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{id:016}{SUFFIX}"))
}

fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The ids of all segments, ascending. Removes what a crash left half made or half deleted.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let (mut ids, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        match rest.strip_suffix(SUFFIX).map(str::parse::<u64>) {
            Some(Ok(id)) => ids.push(id),
            _ => others.push(rest.to_owned()),
        }
    }
    for rest in others {
        let id = rest.get(..16).and_then(|digits| digits.parse::<u64>().ok());
        let is_orphan = id.is_some_and(|id| !ids.contains(&id)) && COMPANION_SUFFIXES.iter().any(|s| rest.ends_with(s));
        if is_orphan || rest.contains(UNFINISHED_SUFFIX) {
            fs::remove_file(dir.join(format!("{PREFIX}{rest}")))?;
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Makes segment `id`, whose slots go on at `bases`. It is complete and on disk, or it is not there.
pub(super) fn create(dir: &Path, id: u64, slots: Slots, bases: &[u64]) -> Result<(), StoreError> {
    let finished = path(dir, id);
    let unfinished = dir.join(format!("{PREFIX}{id:016}{UNFINISHED_SUFFIX}"));
    remove_if_there(&unfinished)?;
    let mut connection = Connection::open(&unfinished)?;
    connection.execute_batch(&format!("PRAGMA page_size = {PAGE_BYTES}; PRAGMA user_version = {FORMAT_VERSION};"))?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE base_offsets (topic TEXT, partition INTEGER, base_offset INTEGER);
         CREATE TABLE newest_timestamps (topic TEXT, partition INTEGER, timestamp_ms INTEGER);
         CREATE TABLE sealed (is_sealed INTEGER);",
    )?;
    for slot in slots.all() {
        transaction.prepare_cached("INSERT INTO base_offsets VALUES (?, ?, ?)")?.execute((
            slot.topic.name(),
            slot.partition.0,
            to_sql(bases[slot.index]),
        ))?;
    }
    transaction.commit()?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)?;
    // Never open a database file by other means once SQLite has it open: closing it would drop SQLite's locks.
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, &finished)?;
    sync_dir(dir)?;
    Ok(())
}

/// Makes names that were added to `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Opens a segment to write: each commit is on disk when it returns.
pub(super) fn open_to_write(dir: &Path, id: u64, slots: Slots) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path(dir, id), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Nobody else writes, unless somebody looks into the file with a tool of his own.
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.set_prepared_statement_cache_capacity(slots.count() + 16);
    connection
        .execute_batch(&format!("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES};"))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != FORMAT_VERSION {
        return Err(StoreError::Layout(format!(
            "segment {id} has format {version}, this release reads {FORMAT_VERSION}: use the release that wrote it"
        )));
    }
    Ok(connection)
}

/// Opens a segment to read. Not read-only to SQLite: whoever closes a segment last tidies its WAL away.
pub(super) fn open_to_read(dir: &Path, id: u64) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path(dir, id), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch("PRAGMA query_only = ON;")?;
    Ok(connection)
}

/// Puts what the WAL holds into the file and on disk, and empties the WAL.
///
/// After a crash the WAL may hold commits that were written and never synced. They must not be read before
/// they are durable, or a power cut could take back what a consumer has seen.
pub(super) fn make_durable(connection: &Connection) -> Result<(), StoreError> {
    let is_busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy != 0 {
        return Err(StoreError::Layout("the WAL cannot be checkpointed while it is being read".to_owned()));
    }
    Ok(())
}

/// Which slots have a table, by slot index.
pub(super) fn tables(connection: &Connection, slots: Slots) -> Result<Vec<bool>, StoreError> {
    let mut has_table = vec![false; slots.count()];
    let mut statement = connection.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?")?;
    for slot in slots.all() {
        has_table[slot.index] = statement.exists([slot.table().trim_matches('"')])?;
    }
    Ok(has_table)
}

/// The end offsets by slot index, from the last row of each table.
pub(super) fn ends(connection: &Connection, slots: Slots, bases: &[u64]) -> Result<Vec<u64>, StoreError> {
    let mut ends = bases.to_vec();
    let has_table = tables(connection, slots)?;
    for slot in slots.all().filter(|slot| has_table[slot.index]) {
        let sql = format!("SELECT max(offset) FROM {}", slot.table());
        let last: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
        if let Some(last) = last {
            ends[slot.index] = from_sql(last) + 1;
        }
    }
    Ok(ends)
}

/// Reads what a segment holds. An unsealed one is scanned, which its size bounds.
pub(super) fn load(connection: &Connection, slots: Slots) -> Result<Contents, StoreError> {
    let mut contents = Contents {
        bases: vec![0; slots.count()],
        newest_ms: vec![NO_TIMESTAMP; slots.count()],
        ends: Vec::new(),
        payload_bytes: 0,
        is_sealed: connection.prepare("SELECT 1 FROM sealed")?.exists([])?,
    };
    let mut statement = connection.prepare("SELECT topic, partition, base_offset FROM base_offsets")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(slot) = slots.named(row.get_ref(0)?.as_str().unwrap_or_default(), row.get(1)?) {
            contents.bases[slot.index] = from_sql(row.get(2)?);
        }
    }
    contents.ends = ends(connection, slots, &contents.bases)?;
    if contents.is_sealed {
        let mut statement = connection.prepare("SELECT topic, partition, timestamp_ms FROM newest_timestamps")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(slot) = slots.named(row.get_ref(0)?.as_str().unwrap_or_default(), row.get(1)?) {
                contents.newest_ms[slot.index] = row.get(2)?;
            }
        }
    } else {
        let has_table = tables(connection, slots)?;
        for slot in slots.all().filter(|slot| has_table[slot.index]) {
            let (newest_ms, payload_bytes): (Option<i64>, Option<i64>) = connection.query_row(
                &format!(
                    "SELECT max(timestamp_ms), sum(length(key) + length(headers) + length(body)) FROM {}",
                    slot.table()
                ),
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            contents.newest_ms[slot.index] = newest_ms.unwrap_or(NO_TIMESTAMP);
            contents.payload_bytes += from_sql(payload_bytes.unwrap_or(0));
        }
    }
    Ok(contents)
}

/// Notes in a segment that it is finished, with what would otherwise need a scan at the next start.
pub(super) fn seal(connection: &mut Connection, slots: Slots, newest_ms: &[i64]) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    transaction.execute("DELETE FROM newest_timestamps", [])?;
    for slot in slots.all().filter(|slot| newest_ms[slot.index] != NO_TIMESTAMP) {
        transaction.prepare_cached("INSERT INTO newest_timestamps VALUES (?, ?, ?)")?.execute((
            slot.topic.name(),
            slot.partition.0,
            newest_ms[slot.index],
        ))?;
    }
    transaction.execute("INSERT INTO sealed VALUES (1)", [])?;
    Ok(transaction.commit()?)
}

/// Bytes of a segment on disk, its WAL included.
pub(super) fn disk_bytes(dir: &Path, id: u64) -> u64 {
    let file = path(dir, id);
    [file.clone(), companion(&file, COMPANION_SUFFIXES[0])]
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// Deletes a segment. A crash in between leaves only files that [`list`] removes.
pub(super) fn remove(dir: &Path, id: u64) -> io::Result<()> {
    let file = path(dir, id);
    remove_if_there(&file)?;
    for suffix in COMPANION_SUFFIXES {
        remove_if_there(&companion(&file, suffix))?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
