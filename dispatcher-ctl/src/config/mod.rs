//! Configuration: a TOML file, read whole, every error found, turned into a valid [`crate::model::Config`].
