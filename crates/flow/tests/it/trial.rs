//! Graphs over some sources, stepped commit by commit beside a slow twin.

use yeoul_flow::{CacheBudget, GraphBuilder, Limits, NodeId, SourceIndex, Workers};

use crate::cells::Row;
use crate::laws::assert_same;
use crate::random::{self, Random};
use crate::trees::{Source, Trees, apply};
use crate::twin::Bag;

/// The sources of a case, and its graph so far.
pub(crate) struct Trial {
    seed: u64,
    pub(crate) random: Random,
    sources: Vec<Source>,
    pub(crate) builder: GraphBuilder,
    pub(crate) nodes: Vec<NodeId>,
    rows: usize,
}

impl Trial {
    pub(crate) fn new(seed: u64, count: usize, rows: usize) -> Self {
        let mut random = Random::new(seed);
        let cache_bytes = *random.pick(&[0, 3_000, 20_000, 1 << 26]);
        let rows_at_once = *random.pick(&[1, 40, 1 << 18]);
        let limits =
            Limits { caches: CacheBudget::new(cache_bytes), rows_at_once, ..Limits::default() };
        let mut builder = GraphBuilder::new().limits(limits);
        let sources: Vec<Source> = (0..count)
            .map(|_| {
                let append_only = random.one_in(2);
                Source::new(&mut random, append_only)
            })
            .collect();
        let nodes =
            sources.iter().map(|s| builder.source(random::schema(), s.append_only)).collect();
        Self { seed, random, sources, builder, nodes, rows }
    }

    /// Steps the graph and compares rows and changes with `twin` at every commit.
    pub(crate) fn check(
        mut self,
        node: NodeId,
        what: &str,
        twin: impl Fn(&[Vec<Row>]) -> Vec<Row>,
    ) {
        let followed = self.random.one_in(2);
        let mut graph = self.builder.output(node, followed).unwrap();
        let pool = Workers::new(*self.random.pick(&[1, 2, 3, 7]));
        let mut trees = Trees::new(&graph);
        let mut seen = Bag::default();
        let output = graph.initial(&pool, &trees).unwrap();
        trees.publish(&output);
        apply(&mut seen, output.change.as_ref());
        for step in 0..7 {
            let mut inputs = Vec::new();
            for (number, source) in self.sources.iter_mut().enumerate() {
                if self.random.one_in(3) {
                    continue;
                }
                let rows = 1 + self.random.below(self.rows);
                let updates = source.step(&mut self.random, rows);
                let parts = crate::laws::cut(&mut self.random, &updates);
                inputs.extend(parts.into_iter().map(|part| (SourceIndex(number), part)));
            }
            let output = graph.step(&inputs, &pool, &trees).unwrap();
            trees.publish(&output);
            let all: Vec<Vec<Row>> = self.sources.iter().map(|s| s.bag.rows()).collect();
            let rows = trees.rows(&graph);
            let name = format!("seed {} step {step}: {what}", self.seed);
            assert_same(rows.clone(), twin(&all), &name);
            if graph.followed() {
                apply(&mut seen, output.change.as_ref());
                assert_same(seen.rows(), rows, &format!("{name}, followed"));
            }
        }
    }
}
