//! What an input can hold, and how it gets into the store.

use profiledb::Batch;
use profiledb::ingest::{EventRecord, Record, WireRecord};

/// An update or an event, read.
pub(crate) trait Item: WireRecord + Send + 'static {
    /// What several of them are called.
    const MANY: &'static str;

    /// How many may be committed together, all or none.
    const TOGETHER: usize;

    /// How much of it was forgiven.
    fn notes(&self) -> usize;

    /// Whose it is.
    fn id(&self) -> &str;

    /// Puts it into a batch.
    fn enter(self, batch: &mut Batch);
}

impl Item for Record {
    const MANY: &'static str = "updates";

    /// A profile may have no room for an update, which is known when it is committed, and then only that one goes.
    const TOGETHER: usize = 1;

    fn notes(&self) -> usize {
        self.notes.len()
    }

    fn id(&self) -> &str {
        self.key.id()
    }

    fn enter(self, batch: &mut Batch) {
        batch.change(self.key, self.change);
    }
}

impl Item for EventRecord {
    const MANY: &'static str = "events";

    /// What can be wrong with an event was found when it was read: the log looks at one event alone, with the same
    /// limits and a clock that never goes back.
    const TOGETHER: usize = 64;

    fn notes(&self) -> usize {
        self.notes.len()
    }

    fn id(&self) -> &str {
        self.event.distinct_id()
    }

    fn enter(self, batch: &mut Batch) {
        batch.append(self.event);
    }
}
