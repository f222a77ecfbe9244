//! Everything the crate promises, against slow obvious twins on random input.

#[cfg(test)]
mod asofs;
#[cfg(test)]
mod bounded;
#[cfg(test)]
mod cells;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod graphs;
#[cfg(test)]
mod joins;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod overs;
mod popular;
#[cfg(test)]
mod random;
#[cfg(test)]
mod ranked;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod time;
#[cfg(test)]
mod trees;
#[cfg(test)]
mod trial;
#[cfg(test)]
mod twin;
