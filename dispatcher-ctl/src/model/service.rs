//! A service as a configuration describes it.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use super::{BackendConfig, RuleConfig, Service, ServiceSettings};

/// A service as a configuration describes it. Its settings can be read as its own fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// Its settings.
    #[serde(flatten)]
    pub settings: ServiceSettings,
    /// The backends, in the file's order; names and addresses are unique in the service.
    pub backends: Vec<BackendConfig>,
    /// The rules, in the file's order; names and priorities are unique in the service.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
}

impl ServiceConfig {
    /// The backend of this name.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<&BackendConfig> {
        self.backends.iter().find(|backend| backend.name == name)
    }
}

impl Deref for ServiceConfig {
    type Target = ServiceSettings;

    fn deref(&self) -> &ServiceSettings {
        &self.settings
    }
}

impl DerefMut for ServiceConfig {
    fn deref_mut(&mut self) -> &mut ServiceSettings {
        &mut self.settings
    }
}

/// A service as a configuration describes it, borrowed from a configuration or from what runs.
#[derive(Clone, Debug)]
pub struct Outline<'s> {
    /// Its settings.
    pub settings: &'s ServiceSettings,
    /// The settings of its backends.
    pub backends: Vec<&'s BackendConfig>,
    /// Its rules.
    pub rules: Vec<&'s RuleConfig>,
}

impl<'s> From<&'s ServiceConfig> for Outline<'s> {
    fn from(service: &'s ServiceConfig) -> Self {
        let (backends, rules) = (service.backends.iter(), service.rules.iter());
        Self { settings: &service.settings, backends: backends.collect(), rules: rules.collect() }
    }
}

impl<'s> From<&'s Service> for Outline<'s> {
    fn from(service: &'s Service) -> Self {
        Self {
            settings: &service.config,
            backends: service.backends.iter().map(|backend| &backend.config).collect(),
            rules: service.rules.iter().map(|rule| &rule.config).collect(),
        }
    }
}

impl From<ServiceSettings> for ServiceConfig {
    /// A service without backends and rules.
    fn from(settings: ServiceSettings) -> Self {
        Self { settings, backends: Vec::new(), rules: Vec::new() }
    }
}

impl From<Outline<'_>> for ServiceConfig {
    fn from(service: Outline<'_>) -> Self {
        Self {
            settings: service.settings.clone(),
            backends: service.backends.into_iter().cloned().collect(),
            rules: service.rules.into_iter().cloned().collect(),
        }
    }
}
