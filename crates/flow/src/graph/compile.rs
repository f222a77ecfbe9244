//! From nodes to stages: what a [`GraphBuilder`] put together, ready to be stepped.

use std::sync::Arc;

use super::builder::{GraphBuilder, Kind};
use super::closing::Closing;
use super::stage::{Leaf, Stage, Target, Way};
use super::tracked::Tracked;
use super::{Release, StateTree, TreeShape};
use crate::aggregate::{Aggregate, Panes};
use crate::linear::Linear;

pub(super) struct Compiler<'a> {
    builder: &'a mut GraphBuilder,
    pub(super) stages: Vec<Stage>,
    pub(super) inner: Vec<(StateTree, TreeShape)>,
    pub(super) releases: Vec<(StateTree, Release)>,
    /// The stage that each node has become.
    stage_of: Vec<Option<usize>>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(builder: &'a mut GraphBuilder) -> Self {
        let stage_of = vec![None; builder.nodes.len()];
        let (stages, inner, releases) = (Vec::new(), Vec::new(), Vec::new());
        Self { builder, stages, inner, releases, stage_of }
    }

    /// Adds the stage of the aggregate or operator at `index`; `top`: its tree is the view's own.
    pub(super) fn stage(&mut self, index: usize, top: bool) {
        let caches = self.builder.limits.caches.clone();
        let (ports, target) = match &mut self.builder.nodes[index].kind {
            Kind::Aggregate { input, aggregate, release } => {
                let (input, aggregate, release) = (*input, Arc::clone(aggregate), *release);
                let ports = vec![self.ways(input, Some(&aggregate))];
                let (tree, tracked) = if top {
                    (StateTree::VIEW, None)
                } else {
                    let tree = self.tree(TreeShape::Combine(Arc::clone(&aggregate)));
                    self.releases.extend(release.map(|release| (tree, release)));
                    (tree, Some(Tracked::new(Arc::clone(&aggregate), &caches)))
                };
                let release = release.filter(|_| !top);
                (ports, Target::Aggregate { aggregate, tree, tracked, release })
            }
            Kind::Closing { input, aggregate, lag_us } => {
                let (input, aggregate, lag_us) = (*input, Arc::clone(aggregate), *lag_us);
                let ports = vec![self.ways(input, Some(&aggregate))];
                let tree = self.tree(TreeShape::Bag(Arc::clone(&aggregate)));
                let closing = Closing::new(Arc::clone(&aggregate), lag_us);
                (ports, Target::Closing { aggregate, tree, closing })
            }
            Kind::Operator { inputs, operator } => {
                let inputs = inputs.clone();
                let operator = operator.take().expect("a node becomes one stage");
                let ports = inputs.iter().map(|input| self.ways(*input, None)).collect();
                let shapes = operator.trees();
                let trees: Vec<StateTree> = match top {
                    true => vec![StateTree::VIEW],
                    false => shapes.into_iter().map(|shape| self.tree(shape)).collect(),
                };
                let releases = operator.releases();
                self.releases.extend(releases.into_iter().map(|(at, how)| (trees[at], how)));
                (ports, Target::Operator { operator, trees })
            }
            Kind::Source(_) | Kind::Values(_) | Kind::Linear { .. } | Kind::Union { .. } => return,
        };
        self.stages.push(Stage::new(ports, target, caches));
        self.stage_of[index] = Some(self.stages.len() - 1);
    }

    fn tree(&mut self, shape: TreeShape) -> StateTree {
        let number = u32::try_from(self.inner.len() + 1).expect("few operators");
        self.inner.push((StateTree(number), shape));
        StateTree(number)
    }

    /// The ways from leaves to `node`; when they lead to an aggregate, a last window whose panes
    /// it can share is left to the aggregate.
    pub(super) fn ways(&self, node: usize, aggregate: Option<&Arc<Aggregate>>) -> Vec<Way> {
        let nodes = &self.builder.nodes;
        let mut ways = Vec::new();
        let mut open: Vec<(usize, Vec<Linear>)> = vec![(node, Vec::new())];
        while let Some((at, mut above)) = open.pop() {
            let leaf = match &nodes[at].kind {
                Kind::Linear { input, operator } => {
                    above.push(operator.clone());
                    open.push((*input, above));
                    continue;
                }
                Kind::Union { inputs } => {
                    open.extend(inputs.iter().rev().map(|input| (*input, above.clone())));
                    continue;
                }
                Kind::Source(source) => Leaf::Source(*source),
                Kind::Values(rows) => Leaf::Values(rows.clone()),
                Kind::Aggregate { .. } | Kind::Closing { .. } | Kind::Operator { .. } => {
                    Leaf::Stage(self.stage_of[at].expect("a stage is added after those beneath"))
                }
            };
            above.reverse();
            let panes = match (aggregate, above.last()) {
                (Some(aggregate), Some(Linear::Window(window))) => {
                    Panes::new(aggregate, window, nodes[node].schema.fields().len())
                }
                _ => None,
            };
            if panes.is_some() {
                above.pop();
            }
            ways.push(Way { leaf, operators: above.into(), panes: panes.map(Arc::new) });
        }
        ways
    }
}

/// Notes of each operator that only one aggregate hears which one that is.
pub(super) fn fold_alone(stages: &mut [Stage]) {
    let mut hear = vec![Vec::new(); stages.len()];
    for (number, stage) in stages.iter().enumerate() {
        for way in stage.ports.iter().flatten() {
            if let Leaf::Stage(from) = way.leaf {
                hear[from].push(number);
            }
        }
    }
    for (from, hear) in hear.into_iter().enumerate() {
        let [into] = hear[..] else { continue };
        let folds =
            matches!(stages[into].target, Target::Aggregate { .. } | Target::Closing { .. });
        stages[from].folds_into = folds.then_some(into);
    }
}
