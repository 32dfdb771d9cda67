//! A service's weights from one interval to the next, and whether they changed enough to be published.

use std::collections::HashMap;

use super::formula::{components, is_enough, rounded, step, target};
use crate::model::{Manager, Proportions};

/// What is known about a backend that accepts connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// Its slot.
    pub slot: u32,
    /// Its current weight.
    pub weight: u32,
    /// The configured weight: if it changes, weighing starts over from it.
    pub start: u32,
    /// Whether its weight is fixed.
    pub is_fixed: bool,
    /// Active and new connections per weight, load from its advisor, load from its agent.
    pub loads: [Option<f64>; 4],
}

/// The result for a backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightResult {
    /// Its input.
    pub input: Input,
    /// The component of each input: active, new, advisor, system.
    pub components: [u32; 4],
    /// The weight that it approaches.
    pub target: f64,
    /// The weight that it should have now.
    pub weight: u32,
}

/// The result of an interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cycle {
    /// Every backend, in the order of the inputs.
    pub weighed: Vec<WeightResult>,
    /// Whether the weights are to be published.
    pub is_published: bool,
}

/// The exact weights of a service's backends. Weights of absent backends are kept: a backend returns with the weight it
/// had.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights(HashMap<u32, Weight>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Weight {
    exact: f64,
    start: u32,
}

impl Weights {
    /// Computes an interval from what is known about the backends that accept connections.
    pub fn cycle(
        &mut self,
        manager: &Manager,
        proportions: Proportions,
        bound: u32,
        inputs: &[Input],
    ) -> Cycle {
        let [active, new, advisor, system] = [0, 1, 2, 3].map(|i| {
            components(&inputs.iter().map(|input| input.loads[i]).collect::<Vec<_>>(), bound)
        });
        let parts = active.into_iter().zip(new).zip(advisor.into_iter().zip(system));
        let mut weighed = Vec::with_capacity(inputs.len());
        for (input, ((active, new), (advisor, system))) in inputs.iter().zip(parts) {
            let components = [active, new, advisor, system];
            let target = target(components, proportions);
            let weight = match input.is_fixed {
                true => input.weight,
                false => self.step(input, target, manager.smoothing, bound),
            };
            weighed.push(WeightResult { input: *input, components, target, weight });
        }
        let changes = weighed.iter().map(|w| (w.input.weight, w.weight));
        let is_published = is_enough(changes, manager.sensitivity);
        Cycle { weighed, is_published }
    }

    /// Forgets all other slots.
    pub fn keep(&mut self, is_kept: impl Fn(u32) -> bool) {
        self.0.retain(|slot, _| is_kept(*slot));
    }

    fn step(&mut self, input: &Input, target: f64, smoothing: f64, bound: u32) -> u32 {
        let start = Weight { exact: f64::from(input.weight), start: input.start };
        let weight = self.0.entry(input.slot).or_insert(start);
        if weight.start != input.start {
            *weight = start;
        }
        weight.exact = step(weight.exact, target, smoothing).clamp(1.0, f64::from(bound.max(1)));
        rounded(weight.exact).min(bound)
    }
}

#[cfg(test)]
mod tests;
