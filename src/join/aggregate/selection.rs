//! The events of a block that are counted.

/// An event, and the code plus one of its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SelectedEvent {
    pub(super) event: u32,
    pub(super) code: u32,
}

/// Events of one block, ascending.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Places for the events of a block, of which the first are in use.
    places: Vec<SelectedEvent>,
    len: usize,
    /// The event after the last run.
    end: u32,
}

impl Selection {
    /// Empties it, and makes room for the events of a block.
    pub(super) fn clear(&mut self, events: usize) {
        (self.len, self.end) = (0, 0);
        if self.places.len() < events {
            self.places.resize(events, SelectedEvent::default());
        }
    }

    /// Adds the next events of the block, which are of one user, if they are selected.
    #[inline]
    pub(super) fn push_run(&mut self, events: u32, code: u32, is_selected: bool) {
        // Most runs are short. The first event of each is put there, selected or not, which needs no branch.
        let first = self.end;
        self.end += events;
        if let Some(place) = self.places.get_mut(self.len) {
            *place = SelectedEvent { event: first, code };
        }
        self.len += usize::from(is_selected);
        if (events > 1) & is_selected {
            let rest = self.places.get_mut(self.len..).unwrap_or_default();
            for (place, event) in rest.iter_mut().zip(first + 1..self.end) {
                *place = SelectedEvent { event, code };
            }
            self.len += events as usize - 1;
        }
    }

    pub(super) fn as_slice(&self) -> &[SelectedEvent] {
        self.places.get(..self.len).unwrap_or_default()
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.places.capacity() * size_of::<SelectedEvent>()
    }

    /// Removes the events of which a test is not true.
    #[inline]
    pub(super) fn retain(&mut self, mut test: impl FnMut(SelectedEvent) -> bool) {
        // Every event is moved, kept or not: that is faster than a branch which is hard to predict.
        let mut kept = 0;
        let places = self.places.get_mut(..self.len).unwrap_or_default();
        for at in 0..places.len() {
            let Some(selected) = places.get(at).copied() else { break };
            let keeps = test(selected);
            if let Some(to) = places.get_mut(kept) {
                *to = selected;
            }
            kept += usize::from(keeps);
        }
        self.len = kept;
    }
}
