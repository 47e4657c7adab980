//! Which parts this process runs.

use clap::ValueEnum;

/// A part that can run on a machine of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything.
    All,
    /// Takes webhooks.
    Ingress,
    /// Writes them to ClickHouse.
    Consumer,
    /// Keeps the rollups and sends alerts.
    Alerter,
}

/// The roles of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    ingress: bool,
    consumer: bool,
    alerter: bool,
}

impl Roles {
    /// No role named means all of them.
    #[must_use]
    pub fn new(roles: &[Role]) -> Self {
        let has = |role| roles.is_empty() || roles.contains(&Role::All) || roles.contains(&role);
        Self { ingress: has(Role::Ingress), consumer: has(Role::Consumer), alerter: has(Role::Alerter) }
    }

    /// Whether this process has the role.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        match role {
            Role::All => self.ingress && self.consumer && self.alerter,
            Role::Ingress => self.ingress,
            Role::Consumer => self.consumer,
            Role::Alerter => self.alerter,
        }
    }

    /// Only the ingress can do without ClickHouse.
    #[must_use]
    pub const fn needs_database(self) -> bool {
        self.consumer || self.alerter
    }
}
