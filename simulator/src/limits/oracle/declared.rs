//! What an operator asked for, in settings or in a limits file, read without the server's code, against what the server says is in force.
//! Without it a server that reads them wrongly, and says so, would decide as it says.

use std::collections::BTreeMap;

use super::{
    DESCRIBED_MAX, LimitName, Oracle, OrderTicket, Wrong,
    values::{Mode, Value, Values},
};

impl Values {
    /// These, with what a limits file says of the limits that it names; none if it can't be read.
    pub fn with_file(&self, file: &[u8]) -> Option<Self> {
        let tables: toml::Table = std::str::from_utf8(file).ok()?.parse().ok()?;
        let mut values = self.clone();
        for name in LimitName::ALL {
            if let Some(table) = tables.get(name.as_str()).and_then(toml::Value::as_table) {
                let number = |field: &str| u64::try_from(table.get(field)?.as_integer()?).ok();
                let mode = table.get("mode").and_then(toml::Value::as_str);
                values.set(*name, values.get(*name).with(number, mode));
            }
        }
        Some(values)
    }

    /// These, with what settings say.
    #[must_use]
    pub fn with_settings(&self, settings: &BTreeMap<String, String>) -> Self {
        let mut values = self.clone();
        for name in LimitName::ALL {
            let prefix = match name {
                LimitName::DeviceRequests => "RATE_LIMIT_DEVICE".to_owned(),
                name => format!("RATE_LIMIT_{}", name.as_str().to_uppercase()),
            };
            let setting =
                |field: &str| settings.get(&format!("{prefix}_{}", field.to_uppercase())).map(|text| text.trim());
            let number = |field: &str| setting(field)?.parse().ok();
            values.set(*name, values.get(*name).with(number, setting("mode")));
        }
        values
    }
}

impl Value {
    /// This, with the numbers and the mode that are given.
    fn with(self, number: impl Fn(&str) -> Option<u64>, mode: Option<&str>) -> Self {
        let mode = mode.map_or(self.mode, Mode::of);
        match number("per_day") {
            Some(per_day) => Self::per_day(per_day, mode),
            None => Self {
                per_min: number("per_min").unwrap_or(self.per_min),
                burst: number("burst").unwrap_or(self.burst),
                mode,
            },
        }
    }
}

impl Oracle {
    /// Whether an order of other limits, which was answered now, is the only one that can have changed them since it was sent.
    pub fn is_only_limits_order(&self, ticket: &OrderTicket) -> bool {
        !self.is_over(*ticket) && ticket.alone.is_some() && ticket.alone == self.changes.sent_alone()
    }

    /// These values were asked for, by settings or a file, and the server says that those are in force.
    pub fn compare_declared(&mut self, at_us: u64, declared: &Values, in_force: &Values, by: &str) {
        for name in LimitName::ALL {
            let (asked, is) = (declared.get(*name), in_force.get(*name));
            if asked != is && self.wrong.len() < DESCRIBED_MAX {
                let what = format!("{} has to be {asked} by {by}; the server says that it is {is}", name.as_str());
                self.wrong.push(Wrong { at_us, what });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(per_min: u64, burst: u64, mode: Mode) -> Value {
        Value { per_min, burst, mode }
    }

    #[test]
    fn a_file_and_settings_say_only_what_they_name() {
        let before = Values::all_off();
        let file = b"[device_requests]\nper_min = 60\nmode = \"shadow\"\n[device_punches]\nper_day = 1441\n[address_failures]\nburst = 7\n";
        let by_file = before.with_file(file).unwrap();
        let settings = [
            ("RATE_LIMIT_DEVICE_PER_MIN", "60"),
            ("RATE_LIMIT_DEVICE_MODE", "shadow"),
            ("RATE_LIMIT_DEVICE_PUNCHES_PER_DAY", "1441"),
            ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "7"),
            ("OTRT_REQUIRED", "true"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(by_file, before.with_settings(&settings));
        assert_eq!(by_file.get(LimitName::DeviceRequests), value(60, 1, Mode::Shadow));
        assert_eq!(by_file.get(LimitName::DevicePunches), value(2, 1_441, Mode::Off));
        assert_eq!(by_file.get(LimitName::AddressFailures), value(1, 7, Mode::Off));
        assert_eq!(by_file.get(LimitName::AllRequests), before.get(LimitName::AllRequests));
        assert_eq!(before.with_file(b"settings_only = true\n"), Some(before.clone()));
        assert_eq!(before.with_file(b"[device_requests"), None);
    }

    /// Goal: other orders that may have changed limits since are no reason to find fault with what is in force.
    #[test]
    fn an_order_is_the_only_one_if_none_was_open_and_none_was_sent_since() {
        let mut oracle = Oracle::new(Values::all_off());
        let all = super::super::LimitSet::ALL;
        let first = oracle.limits_ordered(0, all);
        assert!(oracle.is_only_limits_order(&first));
        let second = oracle.limits_ordered(1, all);
        assert!(!oracle.is_only_limits_order(&first) && !oracle.is_only_limits_order(&second));
        for ticket in [second, first] {
            oracle.limits_order_ended(ticket, 2, super::super::OrderEnd::Done, Some(Values::all_off()));
        }
        let third = oracle.limits_ordered(3, all);
        assert!(oracle.is_only_limits_order(&third));
        oracle.limits_order_ended(third, 4, super::super::OrderEnd::Lost, None);
        let fourth = oracle.limits_ordered(5, all);
        assert!(!oracle.is_only_limits_order(&fourth), "the lost one may be carried out after it");
    }
}
