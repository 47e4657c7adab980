//! What a repricing changes, by provider and model.

use std::collections::BTreeMap;

use crate::{domain::UsdAmount, store::RequestRow};

/// Models told apart; further ones share a line, whatever a sender names.
const MAX_MODELS: usize = 1_000;

/// All changes.
#[derive(Clone, Debug, Default)]
pub struct Drift {
    /// By provider and model.
    pub by_model: BTreeMap<(String, String), ModelDrift>,
}

/// The changes of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelDrift {
    /// Calls looked at.
    pub calls: u64,
    /// Calls whose cost changes.
    pub changed: u64,
    /// Calls that had no price and get one.
    pub newly_priced: u64,
    /// Calls that had a price and lose it: the book no longer has one.
    pub no_longer_priced: u64,
    /// Sum of the known costs before.
    pub before: UsdAmount,
    /// Sum of the known costs after.
    pub after: UsdAmount,
}

impl Drift {
    pub(super) fn add(&mut self, old: &RequestRow, new: &RequestRow) {
        let mut key = (old.provider.clone(), old.model.clone());
        if self.by_model.len() >= MAX_MODELS && !self.by_model.contains_key(&key) {
            key = ("(other)".to_owned(), "(other)".to_owned());
        }
        let model = self.by_model.entry(key).or_default();
        let amount = |cost: Option<i64>| UsdAmount::from_pico_usd(cost.unwrap_or(0).into());
        model.calls += 1;
        model.changed += u64::from(old.cost_usd != new.cost_usd);
        model.newly_priced += u64::from(old.cost_usd.is_none() && new.cost_usd.is_some());
        model.no_longer_priced += u64::from(old.cost_usd.is_some() && new.cost_usd.is_none());
        model.before = model.before + amount(old.cost_usd);
        model.after = model.after + amount(new.cost_usd);
    }

    /// Over all models.
    #[must_use]
    pub fn total(&self) -> ModelDrift {
        self.by_model.values().fold(ModelDrift::default(), |sum, model| ModelDrift {
            calls: sum.calls + model.calls,
            changed: sum.changed + model.changed,
            newly_priced: sum.newly_priced + model.newly_priced,
            no_longer_priced: sum.no_longer_priced + model.no_longer_priced,
            before: sum.before + model.before,
            after: sum.after + model.after,
        })
    }
}
