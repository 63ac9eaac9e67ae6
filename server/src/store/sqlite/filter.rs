//! A WHERE clause built from optional conditions, with its parameters.

use rusqlite::{ToSql, types::Value};

use super::{
    StoreError,
    columns::{list, number_of},
};
use crate::store::devices::Selector;

/// Conditions, all of which must hold.
#[derive(Default)]
pub(super) struct Filter {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Filter {
    /// Adds a condition, with `?` for the value.
    pub(super) fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.conditions.push(condition.replacen('?', &format!("?{}", self.values.len()), 1));
    }

    /// Adds a condition if there is a value.
    pub(super) fn and_if(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.and(condition, value);
        }
    }

    /// Adds a condition without a value.
    pub(super) fn and_that(&mut self, condition: &str) {
        self.conditions.push(condition.to_owned());
    }

    /// Adds the conditions of a selector of devices `d` with states `s`.
    pub(super) fn of_devices(&mut self, which: &Selector) -> Result<(), StoreError> {
        if let Some(device_ids) = &which.device_ids {
            self.and("d.device_id IN (SELECT value FROM json_each(?))", list(device_ids)?);
        }
        self.and_if("d.model = ?", which.model.clone());
        self.and_if("d.site = ?", which.site.clone());
        self.and_if("s.firmware_version = ?", which.firmware_version.clone());
        let has_label = "EXISTS (SELECT 1 FROM device_labels l WHERE l.device = d.id AND l.label = ?)";
        self.and_if(has_label, which.label.clone());
        self.and_if("s.status = ?", which.status.map(number_of));
        let has_text = "EXISTS (SELECT 1 FROM (SELECT lower(?) AS wanted) WHERE instr(lower(d.device_id), wanted) > 0
             OR instr(lower(d.serial), wanted) > 0
             OR EXISTS (SELECT 1 FROM device_labels l WHERE l.device = d.id AND instr(lower(l.label), wanted) > 0))";
        self.and_if(has_text, which.search.clone());
        Ok(())
    }

    /// The clause, `WHERE` included.
    pub(super) fn clause(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("WHERE {}", self.conditions.join(" AND ")) }
    }

    /// The parameters, in order.
    pub(super) fn values(&self) -> Vec<&dyn ToSql> {
        self.values.iter().map(|value| -> &dyn ToSql { value }).collect()
    }
}
