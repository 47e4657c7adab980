//! What each kind of rule takes, and its defaults.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::{
    super::period::read_timezone,
    AlertError, Condition, LimitSource, Measure, Period, Scope, Spike, Statistic, Total, Window,
    keys::{Keys, suggestion},
};
use crate::{domain::UsdAmount, notify::Quantity};

/// One kind of rule.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Keys besides those of every kind.
    pub(super) keys: &'static [&'static str],
    /// Columns that `match` may name.
    pub(super) filters: &'static [&'static str],
    /// Default of `for`.
    pub(super) hold: Duration,
    /// Default of `min_requests`.
    pub(super) min_requests: u64,
    pub(super) read: fn(&mut Keys) -> Result<(Scope, Condition), AlertError>,
}

const ANY: &[&str] = &["model", "user", "provider", "source"];
const NO_USERS: &[&str] = &["model", "provider", "source"];

/// Of `[[contents.policies]]` with `action = "alert"`; no kind of `[[alerts.rules]]`.
pub(super) const POLICY: Kind = Kind {
    name: "policy",
    keys: &["scope", "window", "min_matches"],
    filters: ANY,
    hold: Duration::ZERO,
    min_requests: 1,
    read: policy,
};

/// The kinds of `[[alerts.rules]]`.
pub(super) const KINDS: [Kind; 12] = [
    Kind {
        name: "budget",
        keys: &["match", "scope", "period", "timezone", "limit_usd", "thresholds", "forecast"],
        filters: ANY,
        hold: Duration::ZERO,
        min_requests: 1,
        read: budget,
    },
    Kind {
        name: "usage",
        keys: &[
            "match",
            "unit",
            "period",
            "timezone",
            "limit",
            "overrides",
            "limits_file",
            "limits_query",
            "thresholds",
        ],
        filters: ANY,
        hold: Duration::ZERO,
        min_requests: 1,
        read: usage,
    },
    Kind {
        name: "latency",
        keys: &["match", "keep_firing_for", "statistic", "scope", "threshold_ms", "window"],
        filters: ANY,
        hold: Duration::ZERO,
        min_requests: 1,
        read: latency,
    },
    Kind {
        name: "efficiency",
        keys: &["match", "keep_firing_for", "scope", "max_token_ratio", "share_percent", "window"],
        filters: ANY,
        hold: Duration::ZERO,
        min_requests: 1,
        read: efficiency,
    },
    Kind {
        name: "error_rate",
        keys: &["match", "keep_firing_for", "scope", "share_percent", "window"],
        filters: ANY,
        hold: Duration::ZERO,
        // One error among three calls is 33 %, and nothing; five among fifty hardly come by chance where one in a hundred fails.
        min_requests: 50,
        read: error_rate,
    },
    Kind {
        name: "spend_spike",
        keys: &["match", "keep_firing_for", "scope", "window", "timezone", "factor", "deviations", "min_usd"],
        filters: ANY,
        hold: Duration::ZERO,
        min_requests: 1,
        read: spend_spike,
    },
    Kind {
        name: "no_data",
        keys: &["match", "scope", "window", "active_within"],
        filters: NO_USERS,
        hold: Duration::ZERO,
        // A few calls by hand are no traffic that one could miss.
        min_requests: 10,
        read: no_data,
    },
    Kind {
        name: "unpriced_model",
        keys: &["match", "keep_firing_for", "min_unpriced", "window"],
        filters: NO_USERS,
        // A price may come with the stored object, which is asked for again for some minutes.
        hold: Duration::from_secs(600),
        min_requests: 1,
        read: unpriced_model,
    },
    Kind {
        name: "signature_failures",
        keys: &["match", "keep_firing_for", "scope", "min_failures", "window"],
        filters: &["source"],
        hold: Duration::ZERO,
        min_requests: 1,
        read: signature_failures,
    },
    Kind {
        name: "dead_letters",
        keys: &["match", "keep_firing_for", "scope", "min_messages", "window"],
        filters: &["source"],
        hold: Duration::ZERO,
        min_requests: 1,
        read: dead_letters,
    },
    Kind {
        name: "lag",
        keys: &["keep_firing_for", "max_lag"],
        filters: &[],
        // The first message after a quiet night looks as old as the night, until it is stored.
        hold: Duration::from_secs(60),
        min_requests: 1,
        read: lag,
    },
    Kind {
        name: "sql",
        keys: &["keep_firing_for", "query", "threshold", "every"],
        filters: &[],
        hold: Duration::ZERO,
        min_requests: 1,
        read: sql,
    },
];

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Windows are computed from rows on every pass.
const MAX_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_THRESHOLDS: usize = 20;
const MAX_OVERRIDES: usize = 10_000;
const MAX_QUERY_BYTES: usize = 64 * 1024;

fn budget(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let scope = scope(keys, Scope::All)?;
    let limit = keys.quantity("limit_usd", Quantity::Usd(UsdAmount::ZERO))?.ok_or_else(|| keys.missing("limit_usd"))?;
    let total = Total {
        kind: "budget",
        period: keys.word("period", &Period::ALL)?.unwrap_or(Period::Month),
        timezone: timezone(keys)?,
        limit,
        overrides: std::collections::BTreeMap::new(),
        limit_source: None,
        thresholds: thresholds(keys, &[50, 80, 100])?,
        forecast: keys.switch("forecast")?.unwrap_or(false),
    };
    Ok((scope, Condition::Total(total)))
}

fn usage(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let units =
        [("usd", Quantity::Usd(UsdAmount::ZERO)), ("tokens", Quantity::Tokens(0)), ("requests", Quantity::Requests(0))];
    let unit = keys.word("unit", &units)?.ok_or_else(|| keys.missing("unit"))?;
    let limit = keys.quantity("limit", unit)?.ok_or_else(|| keys.missing("limit"))?;
    let overrides = keys.quantities("overrides", unit)?;
    if overrides.len() > MAX_OVERRIDES {
        return Err(keys.error(format!("`overrides` has more than {MAX_OVERRIDES} users")));
    }
    let total = Total {
        kind: "usage",
        period: keys.word("period", &Period::ALL)?.unwrap_or(Period::Month),
        timezone: timezone(keys)?,
        limit,
        overrides,
        limit_source: limit_source(keys)?,
        thresholds: thresholds(keys, &[80, 100])?,
        forecast: false,
    };
    Ok((Scope::User, Condition::Total(total)))
}

fn limit_source(keys: &mut Keys) -> Result<Option<LimitSource>, AlertError> {
    match (keys.text("limits_file")?, keys.text("limits_query")?) {
        (None, None) => Ok(None),
        (Some(file), None) => Ok(Some(LimitSource::File(file.into()))),
        (None, Some(text)) => query(keys, "limits_query", &text).map(|query| Some(LimitSource::Query(query))),
        (Some(_), Some(_)) => Err(keys.error("give `limits_file` or `limits_query`, not both")),
    }
}

/// A query that reads, without the semicolon that people put behind it.
fn query(keys: &Keys, key: &str, text: &str) -> Result<String, AlertError> {
    let query = text.trim().trim_end_matches(';').trim_end().to_owned();
    if query.len() > MAX_QUERY_BYTES {
        return Err(keys.error(format!("`{key}` has more than {MAX_QUERY_BYTES} bytes")));
    }
    let first = query.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if first != "SELECT" && first != "WITH" {
        return Err(keys.error(format!("`{key}` must be a SELECT (or begin with WITH)")));
    }
    Ok(query)
}

fn latency(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let statistic = keys.word("statistic", &Statistic::ALL)?.unwrap_or(Statistic::P95);
    let threshold_ms = keys.positive("threshold_ms")?.ok_or_else(|| keys.missing("threshold_ms"))?;
    let scope = scope(keys, Scope::Model)?;
    over_window(keys, scope, Measure::Latency { statistic, threshold_ms }, (5 * MINUTE, "5m"))
}

fn efficiency(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let max_token_ratio = keys.positive("max_token_ratio")?.unwrap_or(10.0);
    let share_percent = share(keys, 20.0)?;
    let scope = scope(keys, Scope::Model)?;
    over_window(keys, scope, Measure::Efficiency { max_token_ratio, share_percent }, (HOUR, "1h"))
}

fn policy(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let min_matches = at_least_one(keys, "min_matches", 1)?;
    let scope = scope(keys, Scope::All)?;
    over_window(keys, scope, Measure::Policy { min_matches }, (5 * MINUTE, "5m"))
}

fn error_rate(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let share_percent = share(keys, 10.0)?;
    let scope = scope(keys, Scope::Model)?;
    over_window(keys, scope, Measure::ErrorRate { share_percent }, (5 * MINUTE, "5m"))
}

fn spend_spike(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let unit = Quantity::Usd(UsdAmount::ZERO);
    let min_usd = match keys.quantity("min_usd", unit)? {
        Some(Quantity::Usd(amount)) => amount,
        _ => UsdAmount::from_pico_usd(1_000_000_000_000),
    };
    let spike = Spike {
        factor: keys.positive("factor")?.unwrap_or(3.0),
        deviations: keys.positive("deviations")?.unwrap_or(6.0),
        min_usd,
        timezone: timezone(keys)?,
    };
    let scope = scope(keys, Scope::All)?;
    let (scope, condition) = over_window(keys, scope, Measure::SpendSpike(spike), (HOUR, "1h"))?;
    if let Condition::Window(window) = &condition
        && (window.window > DAY || window.window.as_secs() % 60 != 0)
    {
        return Err(keys.error("`window` of a spend_spike must be whole minutes, at most 1d"));
    }
    Ok((scope, condition))
}

fn no_data(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let scope = scope(keys, Scope::Source)?;
    if scope == Scope::User {
        return Err(keys.error("`scope` of no_data is all, model, provider or source: users come and go"));
    }
    let (quiet, window_text) = window(keys, (HOUR, "1h"))?;
    let active_within = keys.duration("active_within")?.map_or(DAY, |(duration, _)| duration);
    if active_within <= quiet || active_within > MAX_WINDOW {
        return Err(keys.error("`active_within` must be longer than `window` and at most 7d"));
    }
    let measure = Measure::NoData { quiet, active_within };
    Ok((scope, Condition::Window(Window { measure, window: quiet, window_text })))
}

fn unpriced_model(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let min_unpriced = at_least_one(keys, "min_unpriced", 1)?;
    over_window(keys, Scope::Model, Measure::UnpricedModel { min_unpriced }, (DAY, "1d"))
}

fn signature_failures(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let min_failures = at_least_one(keys, "min_failures", 10)?;
    let scope = all_or_source(keys)?;
    over_window(keys, scope, Measure::SignatureFailures { min_failures }, (15 * MINUTE, "15m"))
}

fn dead_letters(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let min_messages = at_least_one(keys, "min_messages", 1)?;
    let scope = all_or_source(keys)?;
    over_window(keys, scope, Measure::DeadLetters { min_messages }, (HOUR, "1h"))
}

fn lag(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let max_lag = keys.duration("max_lag")?.map_or(5 * MINUTE, |(duration, _)| duration);
    if max_lag < Duration::from_secs(1) {
        return Err(keys.error("`max_lag` must be at least 1s"));
    }
    Ok((Scope::All, as_it_is(Measure::Lag { max_lag })))
}

fn sql(keys: &mut Keys) -> Result<(Scope, Condition), AlertError> {
    let text = keys.required_text("query")?;
    let query = query(keys, "query", &text)?;
    let threshold = keys.number("threshold")?.ok_or_else(|| keys.missing("threshold"))?;
    let every = keys.duration("every")?.map_or(MINUTE, |(duration, _)| duration);
    if every < Duration::from_secs(1) || every > DAY {
        return Err(keys.error("`every` must be between 1s and 1d"));
    }
    Ok((Scope::Labels, as_it_is(Measure::Sql { query, threshold, every })))
}

fn as_it_is(measure: Measure) -> Condition {
    Condition::Window(Window { measure, window: Duration::ZERO, window_text: String::new() })
}

fn over_window(
    keys: &mut Keys,
    scope: Scope,
    measure: Measure,
    default: (Duration, &str),
) -> Result<(Scope, Condition), AlertError> {
    let (window, window_text) = window(keys, default)?;
    Ok((scope, Condition::Window(Window { measure, window, window_text })))
}

fn share(keys: &mut Keys, default: f64) -> Result<f64, AlertError> {
    let share_percent = keys.positive("share_percent")?.unwrap_or(default);
    if share_percent > 100.0 {
        return Err(keys.error("`share_percent` is above 100"));
    }
    Ok(share_percent)
}

fn at_least_one(keys: &mut Keys, key: &str, default: u64) -> Result<u64, AlertError> {
    match keys.count(key)?.unwrap_or(default) {
        0 => Err(keys.error(format!("`{key}` must be at least 1"))),
        count => Ok(count),
    }
}

fn all_or_source(keys: &mut Keys) -> Result<Scope, AlertError> {
    match scope(keys, Scope::Source)? {
        scope @ (Scope::All | Scope::Source) => Ok(scope),
        _ => Err(keys.error("`scope` is all or source here: these messages say nothing about models and users")),
    }
}

fn scope(keys: &mut Keys, default: Scope) -> Result<Scope, AlertError> {
    match keys.text("scope")? {
        None => Ok(default),
        Some(word) if word.starts_with("property:") => {
            Err(keys.error("scope `property:…` is not available: the webhook does not carry Helicone's properties"))
        }
        Some(word) => {
            let known: Vec<&str> = Scope::ALL.iter().map(|(word, _)| *word).collect();
            let found = Scope::ALL.iter().find(|(known, _)| *known == word).map(|(_, scope)| *scope);
            found.ok_or_else(|| {
                let near = suggestion(&word, &known);
                keys.error(format!("`scope` is `{word}`{near}; it is one of {}", known.join(", ")))
            })
        }
    }
}

fn window(keys: &mut Keys, (default, default_text): (Duration, &str)) -> Result<(Duration, String), AlertError> {
    let (window, text) = keys.duration("window")?.unwrap_or_else(|| (default, default_text.to_owned()));
    if window < Duration::from_secs(1) || window > MAX_WINDOW {
        return Err(keys.error("`window` must be between 1s and 7d"));
    }
    Ok((window, text))
}

fn timezone(keys: &mut Keys) -> Result<TimeZone, AlertError> {
    let name = keys.text("timezone")?;
    read_timezone(name.as_deref()).map_err(|message| keys.error(message))
}

fn thresholds(keys: &mut Keys, default: &[u32]) -> Result<Vec<u32>, AlertError> {
    let Some(list) = keys.list("thresholds")? else { return Ok(default.to_vec()) };
    let percent = |value: &Value| match value.as_u64() {
        Some(percent @ 1..=10_000) => u32::try_from(percent).ok(),
        _ => None,
    };
    let thresholds: Option<std::collections::BTreeSet<u32>> = list.iter().map(percent).collect();
    match thresholds {
        Some(thresholds) if !thresholds.is_empty() && thresholds.len() <= MAX_THRESHOLDS => {
            Ok(thresholds.into_iter().collect())
        }
        _ => Err(keys.error(format!("`thresholds` must be 1 to {MAX_THRESHOLDS} whole percents between 1 and 10000"))),
    }
}
