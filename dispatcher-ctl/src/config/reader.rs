//! Incremental parse of a long file: only `[[service]]` blocks whose text changed are read again.
//!
//! The file is cut where its services begin. That is safe for files without multi-line strings whose services come last, each
//! block a document of its own. Any other file, and a file with an error, is read whole, so that errors get their places.

use std::{collections::HashMap, sync::Arc};

use super::{ConfigErrors, check, parse, read};
use crate::model::{Config, ServiceConfig, Shared};

/// The line that begins a service.
const SERVICE: &str = "[[service]]";

/// Reads the same file repeatedly.
#[derive(Debug, Default)]
pub struct Reader {
    /// The text before the services, and what it configures.
    head: Option<(String, Config)>,
    /// The services of the last valid configuration.
    services: Vec<Piece>,
}

/// A service that is valid on its own.
#[derive(Clone, Debug)]
struct Piece {
    text: Arc<str>,
    /// The service, shared by all configurations that have this text.
    service: Shared<ServiceConfig>,
}

impl Reader {
    /// As [`super::parse`]. Services whose text is unchanged are shared with the previous configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse(&mut self, text: &str, file_name: &str) -> Result<Config, ConfigErrors> {
        self.by_pieces(text).map_or_else(|| parse(text, file_name), Ok)
    }

    fn by_pieces(&mut self, text: &str) -> Option<Config> {
        if ["\"\"\"", "'''"].iter().any(|quotes| text.contains(quotes)) {
            return None;
        }
        let mut texts = pieces(text);
        let mut config = self.head(texts.next()?)?;
        // Most services keep their place. The index by text is built only when one has moved.
        let mut by_text = None;
        let mut pieces = Vec::with_capacity(self.services.len());
        let mut is_known = Vec::with_capacity(self.services.len());
        for (i, text) in texts.enumerate() {
            let known = self.services.get(i).filter(|piece| &*piece.text == text).or_else(|| {
                let all = self.services.iter().map(|piece| (&*piece.text, piece));
                by_text.get_or_insert_with(|| all.collect::<HashMap<_, _>>()).get(text).copied()
            });
            is_known.push(known.is_some());
            pieces.push(match known {
                Some(piece) => piece.clone(),
                None => Piece { text: text.into(), service: read::service_of(text)?.into() },
            });
        }
        config.services = pieces.iter().map(|piece| piece.service.clone()).collect();
        if !check::config_of_known(&config, |i| is_known[i]).is_empty() {
            return None;
        }
        self.services = pieces;
        Some(config)
    }

    fn head(&mut self, text: &str) -> Option<Config> {
        if self.head.as_ref().is_none_or(|(head, _)| head != text) {
            if read::has_services(text) {
                return None;
            }
            let config = parse(text, "").ok()?;
            self.head = Some((text.to_owned(), config));
        }
        self.head.as_ref().map(|(_, config)| config.clone())
    }
}

/// The text before the first service, then each service's.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let found = text.match_indices(SERVICE).map(|(at, _)| at);
        let cut = found.into_iter().find(|at| *at > 0 && text.as_bytes()[at - 1] == b'\n');
        rest = cut.map(|at| &text[at..]);
        Some(cut.map_or(text, |at| &text[..at]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = include_str!("../../../examples/full.toml");
    const HEAD: &str = "interfaces = [\"eth0\"]\n";

    fn service(n: u16, more: &str) -> String {
        format!(
            "[[service]]\nname = \"s{n}\"\nvip = \"192.0.2.1\"\nport = {n}\nprotocol = \"tcp\"\n{more}\n"
        )
    }

    fn backend(weight: u32) -> String {
        format!("[[service.backend]]\nname = \"b\"\naddress = \"10.0.0.2\"\nweight = {weight}\n")
    }

    /// The reader yields what parsing the whole file yields, errors included.
    #[track_caller]
    fn check(reader: &mut Reader, text: &str) {
        assert_eq!(reader.parse(text, "f.toml"), parse(text, "f.toml"));
    }

    #[test]
    fn it_reads_as_reading_the_whole_does() {
        let mut reader = Reader::default();
        let (one, two, three) = (service(1, &backend(1)), service(2, ""), service(3, &backend(3)));
        for text in [
            FULL.to_owned(),
            HEAD.to_owned(),
            format!("{HEAD}{one}{two}{three}"),
            format!("{HEAD}{one}{}{three}", service(2, &backend(2))),
            format!("{HEAD}{three}{one}"),
            // Settings after a service.
            format!("{HEAD}{one}[connections]\norphan = \"pass\"\n{two}"),
            format!("{HEAD}{one}[connections]\norphan = \"pass\"\n{two}[connections]\n"),
            // Text that only looks like a service.
            format!("{HEAD}api_socket = '''\n[[service]]\n'''\n{one}"),
            format!("{HEAD}# [[service]]\n{one}"),
            format!("{HEAD}  [[service]]\n{}", &one["[[service]]\n".len()..]),
            // What is wrong.
            format!("{HEAD}{one}{one}"),
            format!("{HEAD}{one}{}", service(2, "weight = 3\n")),
            format!("{HEAD}{one}{}{three}", service(2, &backend(1000))),
            format!("{HEAD}{one}[[service]\n"),
            format!("{HEAD}{one}[[service]] x = 1\n"),
            format!("service = []\n{HEAD}{one}"),
            format!("{HEAD}{one}[[service.backend]]\n{two}"),
            format!("{one}{HEAD}"),
            one.clone(),
            String::new(),
            format!("{HEAD}{one}{two}{three}"),
        ] {
            check(&mut reader, &text);
            check(&mut reader, &text);
        }
    }

    #[test]
    fn what_has_not_changed_is_not_read_anew() {
        let mut reader = Reader::default();
        let text = format!("{HEAD}{}{}", service(1, ""), service(2, ""));
        let before = reader.parse(&text, "f.toml").unwrap();
        let text = [1, 3, 2].map(|n| service(n, "")).concat();
        let after = reader.parse(&format!("{HEAD}{text}"), "f.toml").unwrap();
        assert_eq!(shared(&before, &after), [true, false, true]);
        // Of what is refused nothing is kept.
        let wrong = text.replace("port = 3", "port = 2");
        reader.parse(&format!("{HEAD}{wrong}"), "f.toml").unwrap_err();
        let again = reader.parse(&format!("{HEAD}{text}"), "f.toml").unwrap();
        assert_eq!(shared(&after, &again), [true, true, true]);
    }

    /// Which services of a configuration are those of one before.
    fn shared(before: &Config, after: &Config) -> Vec<bool> {
        let is_one = |s: &Shared<_>| before.services.iter().any(|was| was.is_same(s));
        after.services.iter().map(is_one).collect()
    }
}
