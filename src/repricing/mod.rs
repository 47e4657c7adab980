//! Costs by today's price book, for calls that were stored under an older one.
//!
//! A call's row keeps what it used and what the gateway and the provider said, so its cost can be decided again from the row
//! alone. What the gateway or the provider said stays: only what the book decided, or could not, changes. A changed row is
//! written as the next version of itself ([`crate::consumer`] leaves room for it below each stage), so that it outlives a
//! redelivery of its message, and the rollups compute its minute again as after any other insert. A row that is completed
//! meanwhile has a higher version than the one written here, which then changes nothing.

mod drift;
mod error;

use std::time::Duration;

use clickhouse::Client;

pub use drift::{Drift, ModelDrift};
pub use error::RepricingError;

use crate::{
    domain::{UsdAmount, UtcMillis},
    payload::Metadata,
    pricing::{self, Call, CostSource, PriceBook},
    store::{RequestRow, UsageSource, bounded, write_requests},
    usage::{ServiceTier, Usage},
};

/// Rows in memory at once.
const PAGE: usize = 20_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Which calls: `from` ≤ time of the call < `to`.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The first moment.
    pub from: UtcMillis,
    /// The first moment after.
    pub to: UtcMillis,
}

/// Where the work stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Calls looked at.
    pub seen: u64,
    /// Of these, calls whose row changes.
    pub changed: u64,
}

/// How many calls there are, for a progress bar.
///
/// # Errors
/// [`RepricingError`] when ClickHouse cannot be read.
pub async fn count(client: &Client, timeout: Duration, range: Range) -> Result<u64, RepricingError> {
    let query = client
        .query(
            "SELECT count() FROM request_rows FINAL WHERE event_time >= fromUnixTimestamp64Milli(?) \
             AND event_time < fromUnixTimestamp64Milli(?) AND NOT is_test",
        )
        .bind(range.from.0)
        .bind(range.to.0);
    Ok(bounded(timeout, "counting calls", query.fetch_one::<u64>()).await?)
}

/// Decides every call's cost again and says what would change. With `write`, changes it.
///
/// # Errors
/// [`RepricingError`] when ClickHouse fails; what was written until then stays, and running it again goes on.
pub async fn reprice(
    client: &Client,
    timeout: Duration,
    book: &PriceBook,
    range: Range,
    write: bool,
    mut progress: impl FnMut(Progress),
) -> Result<Drift, RepricingError> {
    let (mut drift, mut done) = (Drift::default(), Progress::default());
    // Day by day, so that no query has to sort a year.
    for day in days(client, timeout, range).await? {
        let (from, to) = (day.max(range.from), day.plus(DAY).min(range.to));
        let mut after = Place::default();
        loop {
            let rows = page(client, timeout, Range { from, to }, &after).await?;
            let Some(last) = rows.last() else { break };
            after = Place::of(last);
            let is_last = rows.len() < PAGE;
            done.seen += rows.len() as u64;
            let mut changed = Vec::new();
            for row in rows {
                let new = repriced(&row, book);
                drift.add(&row, &new);
                if new != row {
                    changed.push(new);
                }
            }
            done.changed += changed.len() as u64;
            if write {
                write_requests(client, timeout, &changed).await?;
            }
            progress(done);
            if is_last {
                break;
            }
        }
    }
    Ok(drift)
}

/// The starts of the UTC days that have calls.
async fn days(client: &Client, timeout: Duration, range: Range) -> Result<Vec<UtcMillis>, RepricingError> {
    let query = client
        .query(
            "SELECT toInt64(toUnixTimestamp(toStartOfDay(event_time, 'UTC'))) AS day FROM request_rows \
             WHERE event_time >= fromUnixTimestamp64Milli(?) AND event_time < fromUnixTimestamp64Milli(?) \
             GROUP BY day ORDER BY day",
        )
        .bind(range.from.0)
        .bind(range.to.0);
    let days = bounded(timeout, "looking for days with calls", query.fetch_all::<i64>()).await?;
    Ok(days.into_iter().map(UtcMillis::from_seconds).collect())
}

/// The end of a page, in the order of the table's sorting key.
#[derive(Clone, Debug, Default)]
struct Place {
    source: String,
    minute_ms: i64,
    request_id: String,
}

impl Place {
    fn of(row: &RequestRow) -> Self {
        Self {
            source: row.source.clone(),
            minute_ms: row.event_time - row.event_time.rem_euclid(60_000),
            request_id: row.request_id.clone(),
        }
    }
}

async fn page(
    client: &Client,
    timeout: Duration,
    range: Range,
    after: &Place,
) -> Result<Vec<RequestRow>, RepricingError> {
    let query = client
        .query(
            "SELECT ?fields FROM request_rows FINAL WHERE event_time >= fromUnixTimestamp64Milli(?) \
             AND event_time < fromUnixTimestamp64Milli(?) AND NOT is_test \
             AND (source, toStartOfMinute(event_time), request_id) > (?, toDateTime(intDiv(?, 1000), 'UTC'), ?) \
             ORDER BY source, toStartOfMinute(event_time), request_id LIMIT ?",
        )
        .bind(range.from.0)
        .bind(range.to.0)
        .bind(&after.source)
        .bind(after.minute_ms)
        .bind(&after.request_id)
        .bind(PAGE as u64);
    Ok(bounded(timeout, "reading calls", query.fetch_all::<RequestRow>()).await?)
}

/// The row by `book`: the same one where nothing changes, else its next version.
fn repriced(row: &RequestRow, book: &PriceBook) -> RequestRow {
    let Some(source) = UsageSource::named(&row.usage_source) else {
        // Written before rows kept what prices need.
        return row.clone();
    };
    let usage = matches!(source, UsageSource::Body | UsageSource::Both).then(|| usage_of(row));
    let counts = |tokens: Option<u64>| tokens.and_then(|tokens| i64::try_from(tokens).ok());
    let metadata = (source == UsageSource::Gateway).then(|| Metadata {
        // Whether it was to be believed was decided when all of it was there.
        cost_usd: None,
        prompt_tokens: counts(row.prompt_tokens),
        completion_tokens: counts(row.completion_tokens),
        total_tokens: counts(row.total_tokens),
        latency_ms: None,
    });
    let cost = pricing::price(
        book,
        &Call {
            provider: &row.provider,
            model: &row.model,
            at: UtcMillis(row.event_time),
            metadata: metadata.as_ref(),
            usage: usage.as_ref(),
        },
    );
    let mut new = RequestRow {
        book_cost_usd: cost.book_amount.and_then(UsdAmount::to_decimal64),
        price_entry: cost.book_entry.unwrap_or_default().to_owned(),
        unpriced_reason: cost.book_unpriced.map_or("", pricing::UnpricedReason::as_str).to_owned(),
        ..row.clone()
    };
    if ![CostSource::Gateway, CostSource::Provider].iter().any(|source| source.as_str() == row.cost_source) {
        new.cost_usd = new.book_cost_usd;
        let source = if new.cost_usd.is_some() { CostSource::Book } else { CostSource::Unpriced };
        source.as_str().clone_into(&mut new.cost_source);
    }
    if new != *row {
        new.version += 1;
    }
    new
}

/// What the row says was used.
fn usage_of(row: &RequestRow) -> Usage {
    Usage {
        prompt_tokens: row.prompt_tokens,
        completion_tokens: row.completion_tokens,
        cached_tokens: row.cached_tokens,
        cache_write_tokens: row.cache_write_tokens,
        cache_write_1h_tokens: row.cache_write_1h_tokens,
        reasoning_tokens: row.reasoning_tokens,
        prompt_audio_tokens: row.prompt_audio_tokens,
        prompt_image_tokens: row.prompt_image_tokens,
        cached_audio_tokens: row.cached_audio_tokens,
        completion_audio_tokens: row.completion_audio_tokens,
        completion_image_tokens: row.completion_image_tokens,
        generated_images: row.generated_images,
        web_search_requests: row.web_search_requests,
        service_tier: ServiceTier::labelled(&row.service_tier),
        cost_usd: row.provider_cost_usd.map(|amount| UsdAmount::from_pico_usd(amount.into())),
    }
}
