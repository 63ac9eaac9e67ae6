//! Names that nothing may have: those that are words of the admin API where the name would stand in a path, such as `import` in
//! `/api/devices/import`.

/// Where `{device_id}` stands in paths.
pub const NOT_FOR_DEVICES: [&str; 4] = ["export", "import", "logs", "revoke"];
/// Where `{release_id}` stands.
pub const NOT_FOR_RELEASES: [&str; 1] = ["signed"];
/// Where `{rollout_id}` stands.
pub const NOT_FOR_ROLLOUTS: [&str; 1] = ["plan"];

/// Whether something may be named so.
///
/// # Errors
/// It may not.
pub fn check(name: &str, taken: &[&str]) -> Result<(), String> {
    if taken.contains(&name) {
        return Err(format!("`{name}` stands in a path of the API where the name would stand, expected another name"));
    }
    Ok(())
}
