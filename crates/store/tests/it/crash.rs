//! A fault at every durable operation of a history: what was acknowledged is there afterwards, and
//! nothing else than whole commits.

use std::sync::Arc;

use yeoul_batch::CommitId;
use yeoul_store::{Fault, Media, StoreError, TrialMedia};

use crate::world::{Engine, Model, Rng, check, random_changes, small};

/// Commits, checkpoints and merges by the seed; gives the models of all commits made, and the last
/// one acknowledged.
fn history(seed: u64, media: &TrialMedia) -> (Vec<Model>, CommitId, Option<StoreError>) {
    let mut rng = Rng::new(seed);
    let mut models = vec![Model::default()];
    let mut acknowledged = CommitId(0);
    let shared: Arc<dyn Media> = Arc::new(media.clone());
    let mut engine = match Engine::open(shared, small()) {
        Ok(engine) => engine,
        Err(error) => return (models, acknowledged, Some(error)),
    };
    if let Err(error) = engine.store.merge_parts() {
        return (models, acknowledged, Some(error));
    }
    for step in 1..=14 {
        let next = engine.store.next_tree_id().0;
        let changes = random_changes(&mut rng, engine.commit.next(), &engine.kinds, next, 12);
        let mut model = models[models.len() - 1].clone();
        model.apply(&changes);
        models.push(model);
        if let Err(error) = engine.commit(&changes) {
            return (models, acknowledged, Some(error));
        }
        acknowledged = engine.commit;
        let kept = match step % 3 {
            0 => engine.store.checkpoint().map(|_| 0),
            1 if step > 11 => engine.store.merge_parts(),
            _ => Ok(0),
        };
        if let Err(error) = kept {
            let poisoned = engine.store.append_log(&yeoul_store::LogRecord {
                commit: engine.commit.next(),
                at_us: 0,
                sections: Vec::new(),
            });
            assert!(matches!(poisoned, Err(StoreError::Poisoned(_))), "{error}: {poisoned:?}");
            return (models, acknowledged, Some(error));
        }
    }
    (models, acknowledged, None)
}

fn recovered(seed: u64, media: &TrialMedia, models: &[Model], at_least: CommitId, what: &str) {
    let shared: Arc<dyn Media> = Arc::new(media.after_crash());
    let mut engine = Engine::open(shared, small()).expect(what);
    let commit = engine.commit;
    assert!(commit >= at_least, "{what}: commit {commit} after {at_least} was acknowledged");
    let at = usize::try_from(commit.0).expect("small");
    let mut model = models[at].clone();
    check(&engine.store.snapshot(), &model, what);
    engine.store.start().expect(what);
    let mut rng = Rng::new(seed + 1);
    for _ in 0..2 {
        let next = engine.store.next_tree_id().0;
        let changes = random_changes(&mut rng, engine.commit.next(), &engine.kinds, next, 12);
        engine.commit(&changes).expect(what);
        model.apply(&changes);
        engine.store.checkpoint().expect(what);
    }
    check(&engine.store.snapshot(), &model, what);
}

#[test]
fn a_fault_at_every_operation() {
    for seed in [12, 13] {
        let media = TrialMedia::new(seed);
        let (_, _, failed) = history(seed, &media);
        assert!(failed.is_none(), "seed {seed}: {failed:?}");
        let operations = media.operations();
        // Every operation fails under one of the two seeds.
        for (i, at) in (1 + seed % 2..=operations).step_by(2).enumerate() {
            let faults = [Fault::Io, Fault::CrashBefore, Fault::CrashAfter, Fault::ShortWrite];
            let fault = faults[(i + usize::try_from(seed).expect("small")) % faults.len()];
            let media = TrialMedia::with_fault(seed, at, fault);
            let (models, acknowledged, _) = history(seed, &media);
            let what = format!("seed {seed}, {fault:?} at operation {at} of {operations}");
            recovered(seed, &media, &models, acknowledged, &what);
        }
    }
}
