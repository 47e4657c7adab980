//! Which compression should the Kafka producer use? Sends real webhook bodies through a real broker with the settings
//! of `src/event_log/kafka/config.rs` and measures records a second, this process's processor time and the topic's size
//! on disk.
//!
//! ```sh
//! KAFKA_DATA=$(mktemp -d); tests/kafka/broker.sh start 19092 $KAFKA_DATA
//! cd benches/kafka_compression && cargo run --release -- 127.0.0.1:19092 $KAFKA_DATA/data DIRECTORY_OF_BODIES
//! tests/kafka/broker.sh stop $KAFKA_DATA
//! ```

use std::{
    error::Error,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const PARTITIONS: i32 = 4;
const RECORDS: usize = 40_000;
const ROUNDS: usize = 3;
/// Appends under way at once: the records that share a batch. Few is a quiet hour, many is a burst.
const CONCURRENCY: [usize; 2] = [16, 256];
const CODECS: [(&str, &str); 5] = [("none", ""), ("lz4", ""), ("zstd", "1"), ("zstd", "3"), ("zstd", "6")];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, data, bodies] = arguments.as_slice() else {
        return Err("usage: kafka-compression BROKERS BROKERS_DATA_DIRECTORY DIRECTORY_OF_BODIES".into());
    };
    let bodies = fs::read_dir(bodies)?.map(|entry| Ok(fs::read(entry?.path())?)).collect::<Outcome<Vec<_>>>()?;
    let mean = bodies.iter().map(Vec::len).sum::<usize>() / bodies.len();
    println!("{} bodies of {mean} bytes on average, {RECORDS} records, best of {ROUNDS} rounds", bodies.len());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    for concurrency in CONCURRENCY {
        for (codec, level) in CODECS {
            let mut best: Option<(Duration, Duration, u64)> = None;
            for round in 0..ROUNDS {
                let topic = format!("compression-{concurrency}-{codec}{level}-{round}");
                let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
                runtime.block_on(admin.create_topics(&[new], &AdminOptions::new()))?;
                std::thread::sleep(Duration::from_secs(1));
                let (elapsed, processor) =
                    runtime.block_on(send(brokers, &topic, codec, level, &bodies, concurrency))?;
                let bytes = size_on_disk(Path::new(data), &topic)?;
                runtime.block_on(admin.delete_topics(&[&topic], &AdminOptions::new()))?;
                if best.is_none_or(|(_, least, _)| processor < least) {
                    best = Some((elapsed, processor, bytes));
                }
            }
            let Some((elapsed, processor, bytes)) = best else { continue };
            println!(
                "{concurrency:>4} under way  {codec:>5} {level:1}  {:>6.0} records/s  {:>6.1} µs CPU/record  \
                 {:>6} bytes/record",
                RECORDS as f64 / elapsed.as_secs_f64(),
                processor.as_secs_f64() * 1e6 / RECORDS as f64,
                bytes / RECORDS as u64,
            );
        }
    }
    Ok(())
}

async fn send(
    brokers: &str,
    topic: &str,
    codec: &str,
    level: &str,
    bodies: &[Vec<u8>],
    concurrency: usize,
) -> Outcome<(Duration, Duration)> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "consistent")
        .set("linger.ms", "5")
        .set("compression.type", codec);
    if !level.is_empty() {
        config.set("compression.level", level);
    }
    let producer: FutureProducer = config.create()?;
    // Connections and topic metadata first.
    producer.send(FutureRecord::<[u8], [u8]>::to(topic).payload(b"first"), Timeout::Never).await.map_err(|(e, _)| e)?;
    let (started, before) = (Instant::now(), processor_time()?);
    let mut sends = stream::iter(0..RECORDS)
        .map(|number| {
            let producer = &producer;
            async move {
                // Every webhook has an id of its own, which compresses badly.
                let id =
                    format!("{:032x}", (number as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
                let body = fresh(&bodies[number % bodies.len()], id.as_bytes());
                let record = FutureRecord::to(topic).key(id.as_bytes()).payload(&body);
                producer.send(record, Timeout::Never).await.map(drop).map_err(|(error, _)| error)
            }
        })
        .buffer_unordered(concurrency);
    while let Some(sent) = sends.next().await {
        sent?;
    }
    Ok((started.elapsed(), processor_time()? - before))
}

/// The body with ids of its own, as no two webhooks have the same: every run of 12 and more hexadecimal digits is
/// replaced.
fn fresh(body: &[u8], id: &[u8]) -> Vec<u8> {
    let mut fresh = body.to_vec();
    let mut start = 0;
    for end in 0..=fresh.len() {
        if end < fresh.len() && fresh[end].is_ascii_hexdigit() {
            continue;
        }
        if end - start >= 12 {
            for (place, byte) in fresh[start..end].iter_mut().enumerate() {
                *byte = id[(place + start) % id.len()];
            }
        }
        start = end + 1;
    }
    fresh
}

/// User and system time of this process and its threads.
fn processor_time() -> Outcome<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    // Linux counts in hundredths for everybody.
    Ok(Duration::from_millis(ticks * 10))
}

/// Bytes of the topic's segments; their indexes are preallocated and say nothing.
fn size_on_disk(data: &Path, topic: &str) -> Outcome<u64> {
    let mut bytes = 0;
    for partition in 0..PARTITIONS {
        for entry in fs::read_dir(data.join(format!("{topic}-{partition}")))? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}
