//! A signed heartbeat that is built once and varied as text, so that a flood costs the server more than the attacker. Its
//! signature is well-formed, so a server can't see that it is wrong without verifying it.

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PrivateKey,
    time::UnixMs,
};

use super::heartbeat;

/// Placeholders for name and sequence number.
const NAME: &str = "NAME-TO-BE";
const SEQ: u64 = 9_007_199_254_740_001;

/// The text around name and number.
pub(super) struct Template {
    before: String,
    between: String,
    after: String,
}

impl Template {
    /// A heartbeat far ahead of every device's own sequence, signed with a foreign key.
    pub(super) fn far_ahead(key: &PrivateKey, sent_at: UnixMs) -> Option<Self> {
        let wire = heartbeat(&NAME.parse().ok()?, key, Sequence::new(1_000, SEQ), sent_at)?;
        let (before, rest) = wire.split_once(NAME)?;
        let (between, after) = rest.split_once(&SEQ.to_string())?;
        Some(Self { before: before.to_owned(), between: between.to_owned(), after: after.to_owned() })
    }

    /// The heartbeat with this name and number.
    pub(super) fn by(&self, device_id: &DeviceId, seq: u64) -> String {
        let Self { before, between, after } = self;
        format!("{before}{device_id}{between}{seq}{after}")
    }
}

#[cfg(test)]
mod tests {
    use ks_protocol::{document, message::Heartbeat, signature::SIG_DEV};

    use super::*;

    #[test]
    fn a_filled_template_parses_as_a_heartbeat_of_that_device() {
        let template = Template::far_ahead(&PrivateKey::from_seed(&[7; 32]), UnixMs(0)).unwrap();
        for (name, seq) in [("SIM-000001", 1), ("a.b_c", 1 << 48)] {
            let wire = template.by(&name.parse().unwrap(), seq);
            let signed = document::split(wire.as_bytes(), SIG_DEV).expect("its signature is well-formed");
            let beat: Heartbeat = document::decode(signed.body).unwrap();
            assert_eq!((beat.device_id.as_str(), beat.boot_epoch, beat.seq.get()), (name, 1_000, seq));
        }
    }
}
