//! Roles of users and tokens, and the roles that each route requires.

use std::fmt::{self, Display};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Permissions of a user or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads everything except users, tokens and the audit.
    Viewer,
    /// Runs the fleet day to day: commands, labels, revocations.
    Operator,
    /// Everything an operator may do, and releases.
    ReleaseManager,
    /// Provisions devices, nothing else.
    Factory,
    /// Everything, including users, tokens and server keys.
    Admin,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Operator, Self::ReleaseManager, Self::Factory, Self::Admin];

    /// Name in the API, the store and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::ReleaseManager => "release_manager",
            Self::Factory => "factory",
            Self::Admin => "admin",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Access rule of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Public: no authentication.
    Everybody,
    /// Callers with one of these roles.
    Roles(&'static [Role]),
}

impl Access {
    /// Any authenticated caller.
    pub const ANY_ROLE: Self = Self::Roles(&Role::ALL);
    /// Reads the fleet's state.
    pub const READ: Self = Self::Roles(&[Role::Viewer, Role::Operator, Role::ReleaseManager, Role::Admin]);
    /// Reads devices; the factory too.
    pub const READ_DEVICES: Self = Self::ANY_ROLE;
    /// Operates the fleet.
    pub const OPERATE: Self = Self::Roles(&[Role::Operator, Role::ReleaseManager, Role::Admin]);
    /// Creates releases and rolls them out.
    pub const RELEASE: Self = Self::Roles(&[Role::ReleaseManager, Role::Admin]);
    /// Provisions devices.
    pub const PROVISION: Self = Self::Roles(&[Role::Factory, Role::Admin]);
    /// Administers users, tokens, keys and the audit.
    pub const ADMIN: Self = Self::Roles(&[Role::Admin]);

    /// Whether a caller with this role, or an anonymous one, may call the route.
    pub fn allows(self, role: Option<Role>) -> bool {
        match self {
            Self::Everybody => true,
            Self::Roles(roles) => role.is_some_and(|role| roles.contains(&role)),
        }
    }
}

impl Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::Roles(roles) => f.write_str(&roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or ")),
        }
    }
}
