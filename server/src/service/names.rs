//! Reserved names: path segments of the admin API in the position of an id, such as `import` in `/api/devices/import`.

/// Path segments in the position of `{device_id}`.
pub const RESERVED_DEVICE_IDS: [&str; 4] = ["export", "import", "logs", "revoke"];
/// Path segments in the position of `{release_id}`.
pub const RESERVED_RELEASE_IDS: [&str; 1] = ["signed"];
/// Path segments in the position of `{rollout_id}`.
pub const RESERVED_ROLLOUT_IDS: [&str; 1] = ["plan"];

/// Checks that a name is not reserved.
///
/// # Errors
/// It is reserved.
pub fn check(name: &str, reserved: &[&str]) -> Result<(), String> {
    if reserved.contains(&name) {
        return Err(format!("`{name}` is reserved by a path of the API; expected another name"));
    }
    Ok(())
}
