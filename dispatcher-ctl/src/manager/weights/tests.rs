use proptest::prelude::*;

use super::*;

const BOUND: u32 = 20;

fn input(slot: u32, weight: u32, loads: [Option<f64>; 4]) -> Input {
    Input { slot, weight, start: 10, is_fixed: false, loads }
}

fn active_only() -> Proportions {
    Proportions::of([100, 0, 0, 0])
}

/// A simulated service: each backend takes a fixed time per connection, the scheduler goes by weight, and each interval
/// has the same number of new connections.
struct Service {
    times: Vec<f64>,
    inputs: Vec<Input>,
    weights: Weights,
    published: usize,
}

impl Service {
    fn new(times: &[f64]) -> Self {
        let inputs = (1..).zip(times).map(|(slot, _)| input(slot, 10, [None; 4])).collect();
        Self { times: times.to_vec(), inputs, weights: Weights::default(), published: 0 }
    }

    /// One interval: connections by weight, active ones by Little's law.
    fn interval(&mut self, proportions: Proportions) -> Cycle {
        let total: u32 = self.inputs.iter().map(|input| input.weight).sum();
        for (input, time) in self.inputs.iter_mut().zip(&self.times) {
            let new = 1000.0 * f64::from(input.weight) / f64::from(total);
            let weight = f64::from(input.weight);
            let load = Some(*time);
            input.loads = [Some(new * time / weight), Some(new / weight), load, load];
        }
        let manager = Manager::default();
        let cycle = self.weights.cycle(&manager, proportions, BOUND, &self.inputs);
        if cycle.is_published {
            self.published += 1;
            for (input, weighed) in self.inputs.iter_mut().zip(&cycle.weighed) {
                input.weight = weighed.weight;
            }
        }
        cycle
    }

    fn now(&self) -> Vec<u32> {
        self.inputs.iter().map(|input| input.weight).collect()
    }
}

#[test]
fn a_step_is_followed_without_a_swing_and_then_nothing_is_published() {
    let mut service = Service::new(&[1.0, 1.0, 1.0]);
    for _ in 0..20 {
        service.interval(active_only());
    }
    assert_eq!((service.now(), service.published), (vec![10, 10, 10], 0), "equal, as they began");
    service.times[2] = 3.0;
    let mut before = service.now();
    for _ in 0..20 {
        service.interval(active_only());
        let now = service.now();
        assert!(now[2] <= before[2] && now[0] >= before[0], "{before:?} to {now:?}");
        before = now;
    }
    assert_eq!(service.now(), [17, 17, 6]);
    let published = service.published;
    assert!(published <= 5, "published {published} times");
    for _ in 0..100 {
        service.interval(active_only());
    }
    assert_eq!(service.published, published, "nothing changed, nothing published");
    // Change it back.
    service.times[2] = 1.0;
    for _ in 0..10 {
        service.interval(active_only());
    }
    assert_eq!(service.now(), [10, 10, 10]);
}

#[test]
fn a_swap_is_followed_within_five_intervals() {
    let mut service = Service::new(&[1.0, 4.0]);
    for _ in 0..10 {
        service.interval(active_only());
    }
    let before = service.now();
    service.times.reverse();
    for _ in 0..5 {
        service.interval(active_only());
    }
    let after = service.now();
    assert!(before[0].abs_diff(after[1]) <= 1 && before[1].abs_diff(after[0]) <= 1);
}

#[test]
fn smoothing_is_a_share_of_the_way() {
    let mut weights = Weights::default();
    let manager = Manager { smoothing: 4.0, ..Manager::default() };
    // Components 20 and 5, starting at 10.
    let inputs = [(1, 0.0), (2, 8.0)].map(|(slot, x)| input(slot, 10, [Some(x), None, None, None]));
    let cycle = weights.cycle(&manager, active_only(), BOUND, &inputs);
    assert_eq!(cycle.weighed.iter().map(|w| w.weight).collect::<Vec<_>>(), [13, 9]);
    let components = cycle.weighed[1].components;
    assert_eq!((components, cycle.weighed[1].target), ([5, 10, 10, 10], 5.0));
    assert!(cycle.is_published);
}

#[test]
fn a_fixed_weight_is_left_alone_and_counts_in_the_mean() {
    let mut weights = Weights::default();
    let mut inputs =
        [(1, 1.0), (2, 3.0)].map(|(slot, x)| input(slot, 4, [Some(x), None, None, None]));
    inputs[0].is_fixed = true;
    let cycle = weights.cycle(&Manager::default(), active_only(), BOUND, &inputs);
    // Mean 2 of 3: component 7; two thirds of the step from 4.
    assert_eq!(cycle.weighed.iter().map(|w| w.weight).collect::<Vec<_>>(), [4, 6]);
}

#[test]
fn a_backend_returns_with_the_weight_it_had_and_begins_anew_with_a_new_one() {
    let mut service = Service::new(&[1.0, 3.0]);
    for _ in 0..10 {
        service.interval(active_only());
    }
    let before = service.now();
    // The second backend is absent: the other is weighed alone.
    let away = service.inputs.remove(1);
    let alone = Weights::cycle;
    for _ in 0..10 {
        alone(&mut service.weights, &Manager::default(), active_only(), BOUND, &service.inputs);
    }
    assert_eq!(service.weights.0[&2].exact.round(), f64::from(before[1]));
    service.inputs.push(Input { weight: 3, start: 3, ..away });
    let cycle = service.weights.cycle(
        &Manager { smoothing: 1000.0, ..Manager::default() },
        active_only(),
        BOUND,
        &service.inputs,
    );
    assert_eq!(cycle.weighed[1].weight, 3, "another weight in the file is begun with");
    service.weights.keep(|slot| slot == 1);
    assert_eq!(service.weights.0.len(), 1);
}

#[test]
fn unknown_loads_pull_to_the_middle_and_never_to_the_top() {
    let mut weights = Weights::default();
    let inputs = [input(1, 10, [None; 4]), input(2, 10, [None, None, Some(5.0), None])];
    let by_advisor = Proportions::of([0, 0, 100, 0]);
    for _ in 0..10 {
        let cycle = weights.cycle(&Manager::default(), by_advisor, BOUND, &inputs);
        assert_eq!(cycle.weighed.iter().map(|w| w.weight).collect::<Vec<_>>(), [10, 10]);
    }
}

proptest! {
    #[test]
    fn weights_are_bounded_equal_ones_meet_in_the_middle_and_the_slower_is_not_heavier(
        times in prop::collection::vec(0.01_f64..100.0, 1..12),
        start in prop::collection::vec(1_u32..=BOUND, 12),
        advisor in 0_u32..=100,
    ) {
        let proportions = Proportions::of([100 - advisor, 0, advisor, 0]);
        let mut service = Service::new(&times);
        for (input, start) in service.inputs.iter_mut().zip(&start) {
            (input.weight, input.start) = (*start, *start);
        }
        let mut last = Vec::new();
        for _ in 0..40 {
            let cycle = service.interval(proportions);
            prop_assert!(cycle.weighed.iter().all(|w| (1..=BOUND).contains(&w.weight)));
            last = cycle.weighed.iter().map(|w| w.weight).collect();
        }
        for (a, x) in last.iter().zip(&times) {
            for (b, y) in last.iter().zip(&times) {
                prop_assert!(x > y || a >= b, "{x}: {a}, {y}: {b}");
            }
        }
        if times.windows(2).all(|pair| pair[0] == pair[1]) {
            prop_assert!(last.iter().all(|weight| *weight == BOUND / 2));
        }
        // Weights that have settled stay.
        let published = service.published;
        for _ in 0..20 {
            service.interval(proportions);
        }
        prop_assert_eq!(service.published, published);
    }

    #[test]
    fn equal_backends_meet_at_half_of_the_bound(
        starts in prop::collection::vec(1_u32..=BOUND, 2..12), time in 0.01_f64..10.0,
    ) {
        let mut service = Service::new(&vec![time; starts.len()]);
        for (input, start) in service.inputs.iter_mut().zip(&starts) {
            (input.weight, input.start) = (*start, *start);
        }
        let mut cycle = Cycle::default();
        for _ in 0..40 {
            cycle = service.interval(Proportions::default());
        }
        prop_assert!(cycle.weighed.iter().all(|w| w.weight == BOUND / 2));
    }
}
