//! What was counted within the last seconds.

use std::collections::{BTreeSet, VecDeque};

use leverframe::gate::reflex::{ALL_TAGS, Aggregate, Metric, ReflexRule, Window};

/// A window that moves over cells of a second.
///
/// Counts can be put together and not taken apart, so the cells are kept in two heaps: the older one with the sum from
/// each cell to its newest, from which cells leave, and the newer one with the sum of all, to which they come.
#[derive(Debug)]
pub(super) struct Sliding {
    seconds: u64,
    kept: Kept,
    /// The oldest last; each with the sum of it and all that follow it here.
    older: Vec<(u64, Window)>,
    /// The oldest first.
    newer: VecDeque<(u64, Window)>,
    newer_sum: Window,
}

/// What rules look at: the rest is not kept, however much of it there is.
#[derive(Debug)]
struct Kept {
    tags: BTreeSet<String>,
    everything: bool,
    metrics: BTreeSet<String>,
}

impl Sliding {
    /// Makes the window of that length for the rules that look at it.
    pub(super) fn of(seconds: u32, rules: &[ReflexRule]) -> Self {
        let rules = || rules.iter().filter(|rule| rule.window_secs == seconds);
        let metrics = rules().filter_map(|rule| match &rule.metric {
            Metric::Custom(name) => Some(name.clone()),
            _ => None,
        });
        let kept = Kept {
            tags: rules().map(|rule| rule.tag.clone()).collect(),
            everything: rules().any(|rule| rule.tag == ALL_TAGS),
            metrics: metrics.collect(),
        };
        let (older, newer, newer_sum) = Default::default();
        Self { seconds: u64::from(seconds), kept, older, newer, newer_sum }
    }

    /// Counts something in a second that is not before the newest cell's.
    pub(super) fn add(&mut self, second: u64, window: &Window) {
        let added = self.kept.part_of(window);
        merge(&mut self.newer_sum, &added);
        match self.newer.back_mut() {
            Some((newest, cell)) if *newest == second => merge(cell, &added),
            _ => self.newer.push_back((second, added)),
        }
    }

    /// Forgets the cells that are not within the window that ends with `second`.
    pub(super) fn forget(&mut self, second: u64) {
        while self.leaves_next().is_some_and(|leaves| leaves <= second) {
            if self.older.is_empty() {
                self.newer_sum.clear();
                let mut sum = Window::new();
                while let Some((at, cell)) = self.newer.pop_back() {
                    merge(&mut sum, &cell);
                    self.older.push((at, sum.clone()));
                }
            }
            self.older.pop();
        }
    }

    /// Returns the second with which the oldest cell is not within the window any more.
    pub(super) fn leaves_next(&self) -> Option<u64> {
        let oldest = self.older.last().or(self.newer.front());
        oldest.map(|(at, _)| at.saturating_add(self.seconds))
    }

    /// Returns what is within the window.
    pub(super) fn sum(&self) -> Window {
        let mut sum = self.newer_sum.clone();
        if let Some((_, older)) = self.older.last() {
            merge(&mut sum, older);
        }
        sum
    }
}

impl Kept {
    fn part_of(&self, window: &Window) -> Window {
        let mut part = Window::new();
        for (tag, counted) in window {
            let tag = match tag {
                tag if self.tags.contains(tag) => tag,
                _ if self.everything => "",
                _ => continue,
            };
            let mut counted = Aggregate::clone(counted);
            counted.custom.retain(|name, _| self.metrics.contains(name));
            part.entry(tag.to_owned()).or_default().merge(&counted);
        }
        part
    }
}

fn merge(into: &mut Window, from: &Window) {
    for (tag, counted) in from {
        into.entry(tag.clone()).or_default().merge(counted);
    }
}
