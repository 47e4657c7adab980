//! From totals to transitions: rules, their state per group, and the durable outbox.
//!
//! One pass: each rule is one query ([`observe`]), its answer and the known states give transitions ([`state`], pure),
//! all transitions of the pass are one insert into `alert_transitions` ([`journal`]), and only then the states in
//! memory move on. That row is also the outbox entry: what is flagged `notify` and has no final row in
//! `alert_deliveries` is still to be sent ([`delivery`]), in a task of its own, so that a slow receiver delays nothing.
//! A crash anywhere in between loses no alert, and a restart decides none twice. A message can be sent twice only when
//! the program dies between the receiver's answer and its record.
//!
//! **Two processes at once** would alert twice: a step's id is the same only when both decide it from the same state, and
//! windows are named by the time at which each saw them begin. So one leads, and asks before it records steps and before
//! each message whether its [`Term`](crate::store::Term) still stands. Its successor, unless the term ended in order,
//! begins to alert only when what was allowed before that must be over (`service::work`); then it loads what was recorded.

mod addressees;
mod alerter;
mod backtest;
mod contributors;
mod decide_forecasts;
mod delivery;
mod describe;
mod details;
mod error;
mod forecast;
mod journal;
mod limit_source;
mod limits;
mod metrics;
mod observe;
mod outbox;
mod period;
mod progress;
mod recorded;
mod reload;
mod report;
mod resend;
mod rule;
mod silences;
mod state;
mod suppress;
mod transition;

pub use alerter::Alerter;
pub use backtest::{Backtest, BacktestStep};
pub use decide_forecasts::decide_forecasts;
pub use delivery::DeliveryPolicy;
pub use describe::{describe, describe_suppressions};
pub use error::AlertError;
pub use metrics::AlertMetrics;
pub use observe::Engine;
pub use period::Span;
pub use recorded::{RecordedMessage, recorded_messages};
pub use report::{ReportPeriod, ReportSchedule, check_schedules, report};
pub use resend::{ResendRequest, Resender, Resent};
pub(crate) use rule::parse_duration;
pub use rule::{
    Condition, Filter, LimitSource, MAX_RULES, Measure, Period, Rule, Scope, Spike, Statistic, Total, Window,
    check_rules,
};
pub use silences::{StoredSilence, add_silence, expire_silence, list_silences};
pub use state::{PERIOD_GRACE, States, decide, decide_under};
pub use suppress::{Inhibition, Maintenance, Matcher, Silence, Suppressions};
pub use transition::{AlertKey, AlertState, GroupValue, Observation, Phase, Reason, Transition};
