//! The events of a block that are counted.

use crate::join::block::position;

/// An event, and the code plus one of its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SelectedEvent {
    pub(super) event: u32,
    pub(super) code: u32,
}

/// Events of one block, ascending.
#[derive(Debug, Default)]
pub(super) struct Selection(Vec<SelectedEvent>);

impl Selection {
    /// Empties it, and makes room for the events of a block.
    pub(super) fn clear(&mut self, events: usize) {
        self.0.clear();
        self.0.reserve(events);
    }

    /// Adds events of one user.
    #[inline]
    pub(super) fn push_run(&mut self, events: std::ops::Range<usize>, code: usize) {
        let code = position(code);
        self.0.extend(events.map(|event| SelectedEvent { event: position(event), code }));
    }

    pub(super) fn as_slice(&self) -> &[SelectedEvent] {
        &self.0
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<SelectedEvent>()
    }

    /// Removes the events of which a test is not true.
    #[inline]
    pub(super) fn retain(&mut self, mut test: impl FnMut(SelectedEvent) -> bool) {
        // Every event is moved, kept or not: that is faster than a branch which is hard to predict.
        let mut kept = 0;
        for at in 0..self.0.len() {
            let Some(selected) = self.0.get(at).copied() else { break };
            let keeps = test(selected);
            if let Some(to) = self.0.get_mut(kept) {
                *to = selected;
            }
            kept += usize::from(keeps);
        }
        self.0.truncate(kept);
    }
}
