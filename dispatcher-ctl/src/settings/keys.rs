//! The keys of each table of the configuration, and hints for unknown keys.

/// The keys of one kind of table.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Their place in the file, as a hint names it.
    pub(crate) at: &'static str,
    /// Keys that are read.
    pub(crate) known: &'static [&'static str],
    /// Keys that a later version reads.
    pub(crate) later: &'static [&'static str],
}

/// Similarity (Jaro-Winkler, 0 to 1) from which a key is taken for a mistyped one.
const SIMILAR: f64 = 0.8;
/// The same for one that another table has: `backends` of a service is `backend`, although a rule has `backends`.
const ALIKE: f64 = 0.95;

impl Keys {
    /// A hint for an unknown key: it is misspelt, or it belongs into another table.
    pub(crate) fn hint(&self, unknown: &str, tables: &[&Keys]) -> Option<String> {
        let has = |keys: &Keys| keys.known.contains(&unknown) || keys.later.contains(&unknown);
        let elsewhere = tables.iter().find(|keys| has(keys));
        let similar = if elsewhere.is_some() { ALIKE } else { SIMILAR };
        self.known
            .iter()
            .map(|key| (strsim::jaro_winkler(unknown, key), key))
            .filter(|(similarity, _)| *similarity >= similar)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, key)| format!("did you mean {key}?"))
            .or_else(|| elsewhere.map(|keys| format!("{unknown} belongs {}", keys.at)))
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::{Connections, ServiceSettings, TABLES, row::Table as _};

    #[test]
    fn a_mistyped_key_is_recognised() {
        for (typed, meant) in [
            ("sheduler", "scheduler"),
            ("shceduler", "scheduler"),
            ("stale-timeout", "stale_timeout"),
            ("protocl", "protocol"),
            ("backends", "backend"),
            ("weightbound", "weight_bound"),
        ] {
            assert_eq!(
                ServiceSettings::KEYS.hint(typed, &*TABLES),
                Some(format!("did you mean {meant}?")),
                "{typed}"
            );
        }
        assert_eq!(ServiceSettings::KEYS.hint("colour", &*TABLES), None);
    }

    #[test]
    fn a_key_in_the_wrong_table_is_sent_to_the_right_one() {
        assert_eq!(
            ServiceSettings::KEYS.hint("capacity", &*TABLES).unwrap(),
            "capacity belongs in [connections]"
        );
        assert_eq!(
            Connections::KEYS.hint("pin_dir", &*TABLES).unwrap(),
            "pin_dir belongs at the top of the file, before the first [table]"
        );
    }
}
