//! The model test itself: 100,000 stories, or as many as `SHOP_MODEL_SEEDS` says, from the seed `SHOP_MODEL_START` on.

use shop_model::{Plan, explain, search, tell};
use std::num::ParseIntError;

/// What has to become of some order, or of some payment.
const ENDS: [&str; 10] = [
    "completed",
    "shipping",
    "payment_completed",
    "out_of_stock",
    "payment_deadline",
    "cancelled_by_user",
    "delivery_failed",
    "payment refunded",
    "payment withdrawn, order cancelled",
    "payment withdrawn, deadline passed",
];

fn number(name: &str, otherwise: u64) -> Result<u64, ParseIntError> {
    std::env::var(name).map_or(Ok(otherwise), |text| text.parse())
}

#[test]
fn whatever_goes_wrong_the_shop_is_right_in_the_end() {
    let start = number("SHOP_MODEL_START", 0).unwrap();
    let count = number("SHOP_MODEL_SEEDS", 100_000).unwrap();
    let began = std::time::Instant::now();
    let summary = search(start..start + count, None);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} stories, {} steps, {seconds:.1} s, {:.0} stories/s",
        summary.stories,
        summary.steps,
        summary.stories as f64 / seconds
    );
    println!("{:#?}", summary.ends);
    if let Some(failure) = summary.failure {
        panic!("{}", explain(failure, None).report);
    }
    // What never happens is not tested.
    let never: Vec<&str> = ENDS
        .into_iter()
        .filter(|end| !summary.ends.contains_key(end))
        .collect();
    assert!(count < 10_000 || never.is_empty(), "never: {never:?}");
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in 0..300 {
        let plan = Plan::of(seed);
        let (once, again) = (tell(&plan, None, true), tell(&plan, None, true));
        assert_eq!(once.story, again.story, "seed {seed}");
        assert_eq!(once.steps, again.steps, "seed {seed}");
    }
}
