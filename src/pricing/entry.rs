//! One entry of a book, checked.

use std::{cmp::Ordering, fmt, sync::Arc};

use jiff::{
    Timestamp,
    civil::{Date, Time},
    tz::TimeZone,
};

use super::{
    Component, Pattern, PriceColumn, PricingError, Rates, TieredPrices, UnitPrice,
    rates::PRICED_TIERS,
    text::{EntryText, ServiceTierText, TierText},
};
use crate::domain::UtcMillis;

const DAY_MS: i64 = 24 * 3600 * 1000;
const SAME: &str = "same";
const UNKNOWN: &str = "unknown";

/// Prices of some models of some providers for some time.
#[derive(Debug)]
pub struct Entry {
    pub(super) place: String,
    pub(super) providers: Arc<[Pattern]>,
    pub(super) models: Vec<Pattern>,
    pub(super) validity: Validity,
    pub(super) rates: Rates,
}

impl Entry {
    /// File, number and first model, by which people find it.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whose prices they are.
    #[must_use]
    pub fn providers(&self) -> &[Pattern] {
        &self.providers
    }

    /// What they are for.
    #[must_use]
    pub fn models(&self) -> &[Pattern] {
        &self.models
    }

    /// When they hold.
    #[must_use]
    pub const fn validity(&self) -> &Validity {
        &self.validity
    }

    /// The prices.
    #[must_use]
    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Checks an entry of a file. `place` names the file and the entry, `providers` are the file's.
    pub(super) fn read(text: &EntryText, place: String, providers: &Arc<[Pattern]>) -> Result<Self, PricingError> {
        let wrong = |message: String| PricingError::Format { place: place.clone(), message };
        let providers =
            if text.providers.is_empty() { Arc::clone(providers) } else { patterns(&text.providers, &place)?.into() };
        if providers.is_empty() {
            return Err(wrong("names no providers, and neither does its file".to_owned()));
        }
        if text.models.is_empty() {
            return Err(wrong("names no models".to_owned()));
        }
        let standard = tiered(&place, "", &|component| text.price(component), &text.tiers, None)?;
        if standard.base.iter().next().is_none() {
            return Err(wrong("has no price at all; a model that costs nothing has prices of \"0\"".to_owned()));
        }
        let mut rates = Rates { standard, ..Rates::default() };
        for (name, prices) in &text.service_tiers {
            let service_tier = PRICED_TIERS.into_iter().find(|tier| tier.as_str() == name).ok_or_else(|| {
                wrong(format!("service_tiers.{name}: no such tier; there are flex, priority, batch and fast"))
            })?;
            let prices = service_tier_prices(&place, name, prices, &rates.standard)?;
            rates.service_tiers.insert(service_tier, prices);
        }
        let models = patterns(&text.models, &place)?;
        let validity = Validity::read(text, &place)?;
        Ok(Self { place, providers, models, validity, rates })
    }
}

pub(super) fn patterns(texts: &[String], place: &str) -> Result<Vec<Pattern>, PricingError> {
    texts
        .iter()
        .map(|text| Pattern::new(text).map_err(|message| PricingError::Format { place: place.to_owned(), message }))
        .collect()
}

fn service_tier_prices(
    place: &str,
    name: &str,
    text: &ServiceTierText,
    standard: &TieredPrices,
) -> Result<TieredPrices, PricingError> {
    let tiers = match &text.tiers {
        Some(tiers) => tiers.as_slice(),
        None if standard.tiers.is_empty() => &[],
        None => {
            return Err(PricingError::Format {
                place: place.to_owned(),
                message: format!(
                    "service_tiers.{name} says nothing of long prompts; give it tiers, or `tiers = []` if their price is the same"
                ),
            });
        }
    };
    tiered(place, &format!("service_tiers.{name}"), &|component| text.price(component), tiers, Some(&standard.base))
}

/// Reads a list with its columns. What is charged by piece is charged alike in all of them: it comes from `pieces`, or
/// from the list's own base.
fn tiered<'a>(
    place: &str,
    name: &str,
    price: &dyn Fn(Component) -> Option<&'a String>,
    tiers: &[TierText],
    pieces: Option<&PriceColumn>,
) -> Result<TieredPrices, PricingError> {
    let base = column(place, price, pieces)?;
    let mut columns = Vec::with_capacity(tiers.len());
    let mut last = 0;
    for tier in tiers {
        let above = tier.above_prompt_tokens;
        if above <= last {
            return Err(PricingError::Format {
                place: place.to_owned(),
                message: "tiers need above_prompt_tokens, each larger than the one before".to_owned(),
            });
        }
        last = above;
        let prices = column(place, &|component| tier.price(component), Some(&base))?;
        if let Some((component, _)) = base.iter().find(|(component, _)| prices.get(*component).is_none()) {
            let dot = if name.is_empty() { "" } else { "." };
            let column = format!("{name}{dot}tiers above {above} tokens");
            return Err(PricingError::IncompleteColumn { place: place.to_owned(), column, component });
        }
        columns.push((above, prices));
    }
    Ok(TieredPrices { base, tiers: columns })
}

fn column<'a>(
    place: &str,
    price: &dyn Fn(Component) -> Option<&'a String>,
    pieces: Option<&PriceColumn>,
) -> Result<PriceColumn, PricingError> {
    let mut column = PriceColumn::default();
    for component in Component::ALL {
        let value = match price(component).map(String::as_str) {
            None if component.is_tokens() => None,
            None => pieces.and_then(|pieces| pieces.get(component)),
            Some(UNKNOWN) if component == Component::Request => {
                column.set_request_unknown();
                continue;
            }
            // Wholes stand before their parts in `Component::ALL`, so that they are known by now.
            Some(SAME) => match component.same_as().and_then(|of| column.get(of)) {
                None => return Err(PricingError::Same { place: place.to_owned(), component }),
                known => known,
            },
            Some(text) => {
                let read = if component.is_tokens() { UnitPrice::per_million } else { UnitPrice::each };
                Some(read(text).map_err(|source| PricingError::Price {
                    place: place.to_owned(),
                    key: component.key(),
                    text: text.chars().take(40).collect(),
                    source,
                })?)
            }
        };
        column.set(component, value);
    }
    if pieces.is_some_and(PriceColumn::is_request_unknown) && price(Component::Request).is_none() {
        column.set_request_unknown();
    }
    Ok(column)
}

/// When prices hold: half-open, in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    from: Option<UtcMillis>,
    until: Option<UtcMillis>,
    /// None: the whole week.
    hours: Vec<Hours>,
}

/// A part of the day on some days of the week, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hours {
    /// Monday is bit 0.
    weekdays: u8,
    /// Milliseconds of the day; half-open, not past midnight.
    begin: i64,
    end: i64,
}

const EVERY_DAY: u8 = 0b111_1111;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// 1970-01-01 was a Thursday.
const WEEKDAY_OF_EPOCH: i64 = 3;

impl Hours {
    const fn contains(self, at: UtcMillis) -> bool {
        let of_day = at.0.rem_euclid(DAY_MS);
        let weekday = (at.0.div_euclid(DAY_MS) + WEEKDAY_OF_EPOCH).rem_euclid(7);
        self.weekdays >> weekday & 1 == 1 && self.begin <= of_day && of_day < self.end
    }

    const fn overlaps(self, other: Self) -> bool {
        self.weekdays & other.weekdays != 0 && self.begin < other.end && other.begin < self.end
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weekdays != EVERY_DAY {
            let days = (0..7).filter(|day| self.weekdays >> day & 1 == 1).map(|day| WEEKDAYS[day]);
            write!(f, "{} ", days.collect::<Vec<_>>().join(","))?;
        }
        let clock = |ms: i64| (ms / 3_600_000, ms / 60_000 % 60);
        let ((h, m), (to_h, to_m)) = (clock(self.begin), clock(self.end));
        write!(f, "{h:02}:{m:02}-{to_h:02}:{to_m:02}")
    }
}

impl Validity {
    fn read(text: &EntryText, place: &str) -> Result<Self, PricingError> {
        let wrong = |message: String| PricingError::Format { place: place.to_owned(), message };
        let moment = |key: &str, text: &Option<String>| {
            text.as_deref()
                .map(|text| {
                    parse_moment(text).ok_or_else(|| {
                        wrong(format!(
                            "{key} = \"{text}\" is no date such as 2026-11-25, nor a time such as 2026-11-25T16:00:00Z"
                        ))
                    })
                })
                .transpose()
        };
        let (from, until) = (moment("from", &text.from)?, moment("until", &text.until)?);
        if let (Some(from), Some(until)) = (from, until)
            && from >= until
        {
            return Err(wrong("until must be later than from".to_owned()));
        }
        let mut hours = Vec::new();
        for text in &text.hours {
            hours.extend(parse_hours(text).ok_or_else(|| {
                wrong(format!("hours: `{text}` is nothing like 16:30-00:30 or mon-fri 01:00-04:00, in UTC"))
            })?);
        }
        Ok(Self { from, until, hours })
    }

    /// Whether prices hold at a time.
    #[must_use]
    pub fn contains(&self, at: UtcMillis) -> bool {
        self.from.is_none_or(|from| from <= at)
            && self.until.is_none_or(|until| at < until)
            && (self.hours.is_empty() || self.hours.iter().any(|hours| hours.contains(at)))
    }

    /// Only at some times of the day. Such an entry goes before one that holds all day.
    #[must_use]
    pub const fn has_hours(&self) -> bool {
        !self.hours.is_empty()
    }

    /// Whether both claim the same moment with the same right.
    pub(super) fn conflicts_with(&self, other: &Self) -> bool {
        let begins_before_end = |a: &Self, b: &Self| match (a.from, b.until) {
            (Some(from), Some(until)) => from < until,
            _ => true,
        };
        self.has_hours() == other.has_hours()
            && begins_before_end(self, other)
            && begins_before_end(other, self)
            && (!self.has_hours()
                || self.hours.iter().any(|hours| other.hours.iter().any(|rival| hours.overlaps(*rival))))
    }

    /// The first moment.
    #[must_use]
    pub const fn from(&self) -> Option<UtcMillis> {
        self.from
    }

    /// The first moment after.
    #[must_use]
    pub const fn until(&self) -> Option<UtcMillis> {
        self.until
    }

    /// Times of the day.
    #[must_use]
    pub fn hours_text(&self) -> String {
        self.hours.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Reads a date, which is its beginning in UTC, or a time in RFC 3339.
#[must_use]
pub fn parse_moment(text: &str) -> Option<UtcMillis> {
    let timestamp = text
        .parse::<Timestamp>()
        .or_else(|_| text.parse::<Date>().and_then(|date| date.to_zoned(TimeZone::UTC)).map(|zoned| zoned.timestamp()));
    timestamp.ok().map(|timestamp| UtcMillis(timestamp.as_millisecond()))
}

/// Reads `16:30-00:30`, which may go past midnight, or `mon-fri 01:00-04:00`, which may not.
fn parse_hours(text: &str) -> Option<Vec<Hours>> {
    let (weekdays, hours) = match text.trim().split_once(' ') {
        Some((days, hours)) => (parse_weekdays(days)?, hours),
        None => (EVERY_DAY, text),
    };
    let (begin, end) = hours.trim().split_once('-')?;
    let (begin, end) = (parse_time_of_day(begin)?, parse_time_of_day(end)?);
    let hours = |begin, end| Hours { weekdays, begin, end };
    match begin.cmp(&end) {
        Ordering::Less => Some(vec![hours(begin, end)]),
        Ordering::Greater if weekdays == EVERY_DAY && begin < DAY_MS => Some(vec![hours(begin, DAY_MS), hours(0, end)]),
        _ => None,
    }
}

fn parse_time_of_day(text: &str) -> Option<i64> {
    if text.trim() == "24:00" {
        return Some(DAY_MS);
    }
    let time: Time = text.trim().parse().ok()?;
    Some(i64::from(time.hour()) * 3_600_000 + i64::from(time.minute()) * 60_000)
}

/// Reads `mon-fri` or `sat`.
fn parse_weekdays(text: &str) -> Option<u8> {
    let index = |day: &str| WEEKDAYS.iter().position(|known| known.eq_ignore_ascii_case(day));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (index(first)?, index(last)?);
    (first <= last).then(|| (first..=last).fold(0, |days, day| days | 1 << day))
}
