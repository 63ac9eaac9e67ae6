//! A signed heartbeat that is written once and varied as text, so that a flood costs its server more than it costs the flood. Its
//! signature is sound in form, so a server can't tell that it is wrong without checking it.

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PrivateKey,
    time::UnixMs,
};

use super::heartbeat;

/// The name and the number that stand where others are put.
const NAME: &str = "NAME-TO-BE";
const SEQ: u64 = 9_007_199_254_740_001;

/// What stands around the name and the number.
pub(super) struct Template {
    before: String,
    between: String,
    after: String,
}

impl Template {
    /// A heartbeat that is far ahead of every device's own, signed with a stranger's key.
    pub(super) fn far_ahead(key: &PrivateKey, sent_at: UnixMs) -> Option<Self> {
        let wire = heartbeat(&NAME.parse().ok()?, key, Sequence::new(1_000, SEQ), sent_at)?;
        let (before, rest) = wire.split_once(NAME)?;
        let (between, after) = rest.split_once(&SEQ.to_string())?;
        Some(Self { before: before.to_owned(), between: between.to_owned(), after: after.to_owned() })
    }

    /// The same by that name, with that number.
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
    fn what_is_put_into_a_template_reads_as_a_heartbeat_of_that_device() {
        let template = Template::far_ahead(&PrivateKey::from_seed(&[7; 32]), UnixMs(0)).unwrap();
        for (name, seq) in [("SIM-000001", 1), ("a.b_c", 1 << 48)] {
            let wire = template.by(&name.parse().unwrap(), seq);
            let signed = document::split(wire.as_bytes(), SIG_DEV).expect("its signature is sound in form");
            let beat: Heartbeat = document::decode(signed.body).unwrap();
            assert_eq!((beat.device_id.as_str(), beat.boot_epoch, beat.seq.get()), (name, 1_000, seq));
        }
    }
}
