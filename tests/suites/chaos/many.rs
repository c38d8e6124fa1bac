//! A thousand forwards under load.

use crate::far::Far;
use crate::scene::{BUDGETS, Scene};
use crate::seeded::{Seeded, seeds};
use crate::truth::{Cut, ends_true, released};
use localport_core::resource::LeaseKind;
use std::time::Duration;

/// Forwards of the one case.
const FORWARDS: usize = 1_000;
/// Transfers that are open when it ends.
const TRANSFERS: u64 = 100;

/// S12.1: a thousand forwards with transfers through many of them end within the budget;
/// what had time is whole, what had none is named, and nothing is left.
#[test]
fn s12_1_a_thousand_forwards_under_load_end_in_their_budget() {
    for seed in seeds() {
        let mut random = Seeded::new(seed);
        let far = Far::ssh();
        let mut scene = Scene::start(&far, FORWARDS, BUDGETS);
        for index in 0..TRANSFERS {
            let forward = usize::try_from(random.below(FORWARDS as u64)).unwrap();
            let pace = if index % 4 == 0 { 60_000 } else { random.below(100) };
            scene.transfer(forward, 200_000, Duration::from_millis(pace));
        }
        scene.ask();
        let receipt = ends_true(scene, Cut::ByTheEnd, Duration::ZERO);
        let cut: usize = crate::truth::cut_by_name(&receipt).values().sum();
        assert_eq!(cut as u64, TRANSFERS / 4, "{:?}", receipt.forced);
        assert!(released(&receipt, LeaseKind::Session) >= FORWARDS, "{receipt:#?}");
        println!("seed {seed}: {} ms, {:?}", receipt.took_ms, receipt.stages);
    }
}
