//! Roles of users and scripts, and for every route the roles that may call it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The permissions of a user or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Runs the fleet day to day: commands, labels, revocations.
    Operator,
    /// As an operator, and manages releases.
    ReleaseManager,
    /// Provisions devices, and nothing else.
    Factory,
    /// Everything, including users, tokens and keys.
    Admin,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Operator, Self::ReleaseManager, Self::Factory, Self::Admin];

    /// Its name in the API, the store and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::ReleaseManager => "release_manager",
            Self::Factory => "factory",
            Self::Admin => "admin",
        }
    }

    /// Parses [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, even without a login.
    Everybody,
    /// Callers with one of these roles.
    Roles(&'static [Role]),
}

impl Access {
    /// Any caller who is logged in.
    pub const ANY_ROLE: Self = Self::Roles(&Role::ALL);
    /// Callers who may read the fleet.
    pub const LOOK: Self = Self::Roles(&[Role::Viewer, Role::Operator, Role::ReleaseManager, Role::Admin]);
    /// Callers who may read devices: those, and the factory.
    pub const LOOK_AT_DEVICES: Self = Self::ANY_ROLE;
    /// Callers who may act on the fleet.
    pub const OPERATE: Self = Self::Roles(&[Role::Operator, Role::ReleaseManager, Role::Admin]);
    /// Callers who may create releases and roll them out.
    pub const RELEASE: Self = Self::Roles(&[Role::ReleaseManager, Role::Admin]);
    /// Callers who may provision devices.
    pub const PROVISION: Self = Self::Roles(&[Role::Factory, Role::Admin]);
    /// Callers who may do everything.
    pub const ADMIN: Self = Self::Roles(&[Role::Admin]);

    /// Whether a caller with this role, or without a login, may call.
    pub fn allows(self, role: Option<Role>) -> bool {
        match self {
            Self::Everybody => true,
            Self::Roles(roles) => role.is_some_and(|role| roles.contains(&role)),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::Roles(roles) => f.write_str(&roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or ")),
        }
    }
}
