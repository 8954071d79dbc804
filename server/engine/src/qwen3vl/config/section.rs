//! One JSON object of `config.json`. Each accessor checks a value and names its key in the error.

use serde_json::Value;

use super::Activation;

/// One object of the file, with the dotted name that errors use.
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a Value,
}

impl<'a> Section<'a> {
    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn required(&self, key: &str) -> Result<&'a Value, String> {
        self.get(key).ok_or_else(|| format!("{} is missing", self.path(key)))
    }

    pub(crate) fn optional_section(&self, key: &'a str) -> Result<Option<Section<'a>>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(value) if value.is_object() => Ok(Some(Section { name: key, value })),
            Some(value) => Err(format!("{} is {value}; an object would fit", self.path(key))),
        }
    }

    pub(crate) fn section(&self, key: &'a str) -> Result<Section<'a>, String> {
        self.optional_section(key)?.ok_or_else(|| format!("{} is missing", self.path(key)))
    }

    fn in_range(&self, key: &str, value: &Value, least: u64, most: u64) -> Result<usize, String> {
        value.as_u64().filter(|n| (least..=most).contains(n)).map(|n| n as usize).ok_or_else(|| {
            format!("{} is {value}; a whole number from {least} to {most} would fit", self.path(key))
        })
    }

    pub(crate) fn size(&self, key: &str, least: u64, most: u64) -> Result<usize, String> {
        self.in_range(key, self.required(key)?, least, most)
    }

    pub(crate) fn size_or(&self, key: &str, default: usize, least: u64, most: u64) -> Result<usize, String> {
        if self.has(key) { self.size(key, least, most) } else { Ok(default) }
    }

    pub(crate) fn sizes(&self, key: &str, max_len: usize, most: u64) -> Result<Vec<usize>, String> {
        let value = self.required(key)?;
        let list = value
            .as_array()
            .filter(|list| list.len() <= max_len)
            .ok_or_else(|| format!("{} is {value}; a list of at most {max_len} would fit", self.path(key)))?;
        list.iter().map(|entry| self.in_range(key, entry, 0, most)).collect()
    }

    pub(crate) fn positive(&self, key: &str) -> Result<f64, String> {
        let value = self.required(key)?;
        value
            .as_f64()
            .filter(|number| *number > 0.0 && *number < 1e12)
            .ok_or_else(|| format!("{} is {value}; a positive number would fit", self.path(key)))
    }

    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(value) => Err(format!("{} is {value}; true or false would fit", self.path(key))),
        }
    }

    pub(crate) fn activation(&self, key: &str) -> Result<Activation, String> {
        let value = self.required(key)?;
        match value.as_str() {
            Some("silu") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::Gelu),
            Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            _ => Err(format!("{} is {value}; silu, gelu or gelu_pytorch_tanh would fit", self.path(key))),
        }
    }

    pub(crate) fn divides(&self, whole: &str, n: usize, part: &str, by: usize) -> Result<(), String> {
        if n.is_multiple_of(by) {
            return Ok(());
        }
        Err(format!("{} is {n}, which {} {by} does not divide", self.path(whole), self.path(part)))
    }
}
