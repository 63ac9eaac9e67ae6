//! What people and scripts may do: a role each, and for every route the roles that may call it.

use std::fmt::{self, Display};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Runs the fleet day to day: commands, labels, revocations.
    Operator,
    /// What an operator may, and releases.
    ReleaseManager,
    /// Provisions devices, and nothing else.
    Factory,
    /// Everything: people, tokens, keys.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Operator, Self::ReleaseManager, Self::Factory, Self::Admin];

    /// The word in the API, the store and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::ReleaseManager => "release_manager",
            Self::Factory => "factory",
            Self::Admin => "admin",
        }
    }

    /// The role of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, also without a login.
    Everybody,
    /// Whoever has one of these roles.
    Roles(&'static [Role]),
}

impl Access {
    /// Whoever is logged in.
    pub const ANY_ROLE: Self = Self::Roles(&Role::ALL);
    /// Who may look at the fleet.
    pub const LOOK: Self = Self::Roles(&[Role::Viewer, Role::Operator, Role::ReleaseManager, Role::Admin]);
    /// Who may look at devices: those, and the factory.
    pub const LOOK_AT_DEVICES: Self = Self::ANY_ROLE;
    /// Who may act on the fleet.
    pub const OPERATE: Self = Self::Roles(&[Role::Operator, Role::ReleaseManager, Role::Admin]);
    /// Who may make releases, and roll them out.
    pub const RELEASE: Self = Self::Roles(&[Role::ReleaseManager, Role::Admin]);
    /// Who may provision devices.
    pub const PROVISION: Self = Self::Roles(&[Role::Factory, Role::Admin]);
    /// Who may do everything.
    pub const ADMIN: Self = Self::Roles(&[Role::Admin]);

    /// Whether somebody with this role, or nobody in particular, may call.
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
