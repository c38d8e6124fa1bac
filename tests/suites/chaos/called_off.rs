//! An end that is called off, whenever that happens: either it goes on to the end, or
//! everything is as it was.

use crate::far::Far;
use crate::scene::{BUDGETS, Scene, announced};
use crate::seeded::{Seeded, seeds};
use crate::transfer::{Outcome, Transfer};
use crate::truth::{Cut, ends_true};
use localport_core::shutdown::Stage;
use localport_tests::host::Http;
use std::thread;
use std::time::Duration;

/// A little transfer through every forward, which has to be whole.
fn bytes_flow(scene: &Scene) {
    for (index, port) in scene.ports.iter().enumerate() {
        let transfer = Transfer::begin(index, *port, 100_000, Duration::ZERO);
        assert_eq!(transfer.outcome(), Outcome::Whole, "forward {index}");
    }
}

const CANCEL: &str = "POST /v1/quit/cancel";

fn call_off(scene: &Scene) -> Http {
    scene.sandbox.http(CANCEL, "")
}

fn goes_on(scene: &Scene) {
    scene.sandbox.until("it goes on", |status| {
        let serves = |forward: &serde_json::Value| forward["word"] == "serving";
        status["phase"] == "running" && status["forwards"].as_array().unwrap().iter().all(serves)
    });
    bytes_flow(scene);
}

/// S11.4, S8.3: called off again and again, at any instant of the first stages: each
/// time everything listens again, and a transfer that was open through all of it is whole.
#[test]
fn s11_4_an_end_called_off_at_any_instant_costs_no_byte() {
    for seed in seeds() {
        let mut random = Seeded::new(seed);
        let far = Far::ssh();
        let mut scene = Scene::start(&far, 3, [1_000, 20_000, 4_000, 2_000]);
        // As long as all of this takes, at most.
        scene.transfer(0, 1 << 20, Duration::from_secs(6));
        for _ in 0..12 {
            assert_eq!(scene.sandbox.http("POST /v1/quit", "{}").status, 202);
            // The instant is what is tried: nothing announces it.
            thread::sleep(Duration::from_micros(random.below(20_000)));
            let answer = call_off(&scene);
            assert_eq!(answer.status, 200, "{answer:?}");
            goes_on(&scene);
        }
        let through_all = scene.transfers.pop().unwrap();
        assert_eq!(through_all.outcome(), Outcome::Whole);
        scene.ask();
        let receipt = ends_true(scene, Cut::ByTheEnd, Duration::ZERO);
        assert!(receipt.is_clean(), "{receipt:#?}");
    }
}

/// S11.4: asked in each stage; once something was cut it is too late, which is said, and
/// the end is as whole as any.
#[test]
fn s11_4_an_end_called_off_in_each_stage_goes_on_or_ends_whole() {
    for stage in Stage::ALL {
        let far = Far::ssh();
        let mut scene = Scene::start(&far, 2, BUDGETS);
        scene.transfer(0, 1 << 20, Duration::from_secs(60));
        if stage > Stage::CompleteCurrent {
            scene.end_with(stage, |scene| {
                match scene.sandbox.try_http(CANCEL, "") {
                    Ok(answer) => {
                        // The last stage may be over before it is asked.
                        let is_over = stage == Stage::ForceCleanup && answer.status == 503;
                        assert!(answer.status == 409 || is_over, "{stage:?}: {answer:?}");
                        assert!(is_over || answer.body.contains("too late"), "{answer:?}");
                    }
                    // The host may be gone by then, too.
                    Err(error) => assert_eq!(stage, Stage::ForceCleanup, "{error}"),
                }
            });
            ends_true(scene, Cut::ByTheEnd, Duration::ZERO);
            continue;
        }
        let mut events = scene.sandbox.follow("/v1/events", "");
        scene.ask();
        announced(&mut events, stage);
        let answer = call_off(&scene);
        assert_eq!(answer.status, 200, "{stage:?}: {answer:?}");
        goes_on(&scene);
        scene.ask();
        ends_true(scene, Cut::ByTheEnd, Duration::ZERO);
    }
}
