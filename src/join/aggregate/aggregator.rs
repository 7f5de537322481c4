//! The hash table of one worker: rows are grouped into buckets by the codes of their group keys, and measured.
//!
//! Each distinct value has a *code*, each distinct combination of codes is the *group key* of a bucket. The group keys
//! of a dictionary code of a joined table are computed once per code, not once per event. Every worker has a hash table
//! of its own, and they are merged at the end. The number of buckets is bounded, and so is the memory of all workers:
//! whatever grows with the input reserves it from one [`Budget`].

use std::cmp::Ordering;
use std::sync::Arc;

use crate::codec::{self, ValueBytes, ValueKind};
use crate::error::{Error, Result};
use crate::join::answer::{Answer, Bucket};
use crate::join::block::{Block, ColumnValue, decoded};
use crate::join::breakdown::Breakdown;
use crate::join::budget::{Budget, Reservation, grown};
use crate::join::cache::{CodeCache, LossyCache};
use crate::join::exec::{Execution, Tasks};
use crate::join::layout::Column;
use crate::join::measure::{Accumulator, Measure};
use crate::join::ordinal_set::OrdinalSet;
use crate::join::probe::{Dictionary, Interner, NO_ROW};
use crate::model::Value;

/// What to compute: buckets by some fields, with measures. Without a measure events are counted.
#[derive(Clone, Debug)]
pub(in crate::join) struct Aggregation {
    pub(in crate::join) by: Vec<Breakdown>,
    pub(in crate::join) measures: Vec<Measure>,
    pub(in crate::join) top: Option<usize>,
    pub(in crate::join) buckets_max: usize,
    /// For the hash tables of all workers.
    pub(in crate::join) memory_bytes: usize,
}

/// The code of no value: not set.
const NOT_SET: u32 = 0;

/// Buckets that are held besides the top ones before the rest of them is dropped.
const TOP_SLACK: usize = 1_024;

/// Fields that are evaluated together: those of one joined table, or one field of the event.
pub(super) struct KeySource {
    /// The table, if it is one.
    pub(super) dim: Option<usize>,
    /// For each field: its column, and its position in the group key.
    pub(super) fields: Vec<(Column, usize)>,
    /// For dictionary codes of the table: their partial group keys, or their buckets.
    pub(super) cache: CodeCache<Box<[u32]>>,
    /// The memory of the lists in the cache, in bytes.
    cached: usize,
    /// For values of the event: their codes.
    pub(super) recent: LossyCache,
}

impl KeySource {
    /// Makes the cache one for this dictionary. Returns whether it was one for another.
    fn enter(&mut self, dictionary: &Arc<Dictionary>) -> bool {
        let is_new = self.cache.enter(dictionary);
        if is_new {
            self.cached = self.cache.memory();
        }
        is_new
    }
}

/// The hash table of one worker.
pub(super) struct Aggregator {
    pub(super) aggregation: Arc<Aggregation>,
    pub(super) measures: Vec<(Measure, Column)>,
    pub(super) sources: Vec<KeySource>,
    /// Distinct values. The first code is [`NOT_SET`].
    values: Interner,
    /// Distinct group keys: the codes of their values.
    pub(super) keys: Interner,
    /// The measures of each bucket, bucket by bucket.
    pub(super) accumulators: Vec<Accumulator>,
    /// Distinct sets of users: their ids, and pairs of bucket and user.
    users: Interner,
    bucket_users: Interner,
    counts_users: bool,
    /// Whether users of columns are known by ordinal. There are no others then.
    pub(super) users_by_ordinal: bool,
    /// Whether each bucket has the set of its users, by ordinal. There are no others then.
    pub(super) users_by_bucket: bool,
    /// Whether no user is in two tasks, so that distinct sets need not outlive a task.
    users_end_with_task: bool,
    pub(super) budget: Arc<Budget>,
    /// For accumulators, what they hold, and caches. Interners have their own.
    reservation: Reservation,
    /// What accumulators hold besides themselves, in bytes.
    pub(super) held: usize,
    /// How much of that is reserved.
    pub(super) reserved_held: usize,
    /// The memory of all caches, in bytes.
    cached: usize,
}

impl Aggregator {
    pub(super) fn new(execution: &Execution, aggregation: &Arc<Aggregation>, budget: &Arc<Budget>) -> Result<Self> {
        let layout = &execution.layout;
        let mut sources: Vec<KeySource> = Vec::new();
        for (position, breakdown) in aggregation.by.iter().enumerate() {
            let column = layout.column(&breakdown.field);
            let dim = if let Column::Dim { dim, .. } = column { Some(dim) } else { None };
            match sources.iter_mut().find(|source| dim.is_some() && source.dim == dim) {
                Some(source) => source.fields.push((column, position)),
                None => {
                    let (cache, recent) = (CodeCache::default(), LossyCache::default());
                    sources.push(KeySource { dim, fields: vec![(column, position)], cache, cached: 0, recent });
                }
            }
        }
        let measure = |measure: &Measure| {
            let column = measure.field().map_or(Column::Nowhere, |field| layout.column(field));
            (measure.clone(), column)
        };
        let mut measures: Vec<(Measure, Column)> = aggregation.measures.iter().map(measure).collect();
        if measures.is_empty() {
            measures.push((Measure::Count, Column::Nowhere));
        }
        let interner = || Interner::within(budget.reservation());
        let mut values = interner();
        values.intern(&[])?;
        Ok(Self {
            aggregation: Arc::clone(aggregation),
            counts_users: measures.iter().any(|(measure, _)| *measure == Measure::Uniques),
            measures,
            sources,
            values,
            keys: interner(),
            accumulators: Vec::new(),
            users: interner(),
            bucket_users: interner(),
            users_by_ordinal: false,
            users_by_bucket: false,
            users_end_with_task: matches!(execution.tasks, Tasks::Partitions(_)) && execution.sealed.blocks.is_empty(),
            budget: Arc::clone(budget),
            reservation: budget.reservation(),
            held: 0,
            reserved_held: 0,
            cached: 0,
        })
    }

    /// Adds the rows of a block.
    pub(super) fn add(&mut self, block: &Block) -> Result<()> {
        let mut sources = std::mem::take(&mut self.sources);
        let mut entered = false;
        for source in &mut sources {
            if let Some(joined) = source.dim.and_then(|dim| block.joined.get(dim)) {
                entered |= source.enter(&joined.dictionary);
            }
        }
        if entered {
            self.cached = sources.iter().map(|source| source.cached).sum();
            self.reserve(0)?;
        }
        let added = match sources.as_mut_slice() {
            // Grouped by fields of the user alone, the buckets of a dictionary code are known after its first event.
            [source @ KeySource { dim: Some(_), .. }] if source.dim.is_some_and(|dim| block.layout.is_user(dim)) => {
                self.add_by_user(block, source)
            }
            sources => self.add_by_all(block, sources),
        };
        self.sources = sources;
        added
    }

    fn add_by_user(&mut self, block: &Block, source: &mut KeySource) -> Result<()> {
        let Some((dim, joined)) = source.dim.and_then(|dim| Some((dim, block.joined.get(dim)?))) else { return Ok(()) };
        for event in &block.kept {
            let event = *event as usize;
            let code = block.user_code(event, dim);
            if source.cache.get(code).is_none() {
                let keys = self.keys_of_code(&joined.dictionary, code, &source.fields)?;
                let buckets: Result<Box<[u32]>> =
                    keys.chunks(source.fields.len()).map(|key| self.bucket(key)).collect();
                self.remember(source, code, buckets?)?;
            }
            // Every code that is looked up was remembered.
            for bucket in source.cache.get(code).map(|known| &**known).unwrap_or_default() {
                self.measure(block, event, *bucket)?;
            }
        }
        Ok(())
    }

    fn add_by_all(&mut self, block: &Block, sources: &mut [KeySource]) -> Result<()> {
        let mut lists: Vec<Vec<u32>> = sources.iter().map(|_| Vec::new()).collect();
        let mut key = vec![NOT_SET; self.aggregation.by.len()];
        for event in &block.kept {
            let event = *event as usize;
            for (source, list) in sources.iter_mut().zip(&mut lists) {
                list.clear();
                self.keys_of_event(block, event, source, list)?;
            }
            // Nearly always there is one combination. Each is a bucket of its own.
            let mut lengths = sources.iter().zip(&lists).map(|(source, list)| (list.len(), source.fields.len()));
            let combinations = match lengths.clone().all(|(length, width)| length == width) {
                true => 1,
                false => self.combinations(lengths.by_ref().map(|(length, width)| length / width))?,
            };
            for number in 0..combinations {
                put_combination(number, sources, &lists, &mut key);
                let bucket = self.bucket(&key)?;
                self.measure(block, event, bucket)?;
            }
        }
        Ok(())
    }

    /// The partial group keys that one source gives an event, each once, one after the other.
    fn keys_of_event(
        &mut self,
        block: &Block,
        event: usize,
        source: &mut KeySource,
        list: &mut Vec<u32>,
    ) -> Result<()> {
        let width = source.fields.len();
        let Some((dim, joined)) = source.dim.and_then(|dim| Some((dim, block.joined.get(dim)?))) else {
            let Some((column, position)) = source.fields.first().copied() else { return Ok(()) };
            return self.codes_of_column(block.cell(event, column), position, &mut source.recent, list);
        };
        let codes = block.codes(event, dim);
        // An event without a group is not set, as one without a profile is.
        let codes = if codes.is_empty() { &[NO_ROW] } else { codes };
        for code in codes {
            if source.cache.get(*code).is_none() {
                let keys = self.keys_of_code(&joined.dictionary, *code, &source.fields)?;
                self.remember(source, *code, keys.into())?;
            }
            // Every code that is looked up was remembered.
            list.extend_from_slice(source.cache.get(*code).map(|known| &**known).unwrap_or_default());
        }
        // Those of one code are distinct.
        if codes.len() > 1 {
            deduplicate(list, 0, width);
        }
        Ok(())
    }

    /// Makes the cache of a source one for this dictionary.
    pub(super) fn enter(&mut self, source: &mut KeySource, dictionary: &Arc<Dictionary>) -> Result<()> {
        let before = source.cached;
        if !source.enter(dictionary) {
            return Ok(());
        }
        self.cached = self.cached.saturating_sub(before).saturating_add(source.cached);
        self.reserve(0)
    }

    pub(super) fn remember(&mut self, source: &mut KeySource, code: u32, list: Box<[u32]>) -> Result<()> {
        source.cached += size_of_val(&*list);
        self.cached += size_of_val(&*list);
        source.cache.insert(code, list);
        self.reserve(0)
    }

    /// The codes of a column of the event itself.
    pub(super) fn codes_of_column(
        &mut self,
        cell: ColumnValue<'_>,
        position: usize,
        recent: &mut LossyCache,
        list: &mut Vec<u32>,
    ) -> Result<()> {
        let period;
        let key = match cell {
            ColumnValue::NotSet => &[][..],
            ColumnValue::Stored(bytes) => bytes.as_bytes(),
            ColumnValue::Text(text) => text.as_bytes(),
            ColumnValue::Period(start) => {
                period = start.key();
                &period
            }
            // Nearly every event has a time of its own.
            ColumnValue::Time(_) | ColumnValue::Groups(..) => return self.explode_computed(cell, position, list),
        };
        if let Some(codes) = recent.get(key) {
            list.extend_from_slice(codes);
            return Ok(());
        }
        match cell {
            ColumnValue::Stored(bytes) => self.explode(Some(bytes), position, list)?,
            cell => self.explode_computed(cell, position, list)?,
        }
        recent.put(key, list);
        Ok(())
    }

    /// The codes of a value that is computed.
    fn explode_computed(&mut self, cell: ColumnValue<'_>, position: usize, list: &mut Vec<u32>) -> Result<()> {
        let mut bytes = Vec::new();
        match cell {
            ColumnValue::Text(text) => codec::write_text(&mut bytes, text),
            cell => match cell.value() {
                Some(value) => codec::write_value(&mut bytes, &value),
                None => return self.explode(None, position, list),
            },
        }
        self.explode(Some(ValueBytes::new(&bytes)), position, list)
    }

    /// The partial group keys of one dictionary code: every combination of the values of its fields.
    pub(super) fn keys_of_code(
        &mut self,
        dictionary: &Dictionary,
        code: u32,
        fields: &[(Column, usize)],
    ) -> Result<Vec<u32>> {
        let mut all: Vec<u32> = Vec::new();
        let mut both = self.budget.reservation();
        for (number, (column, position)) in fields.iter().enumerate() {
            let at = if let Column::Dim { at, .. } = column { *at } else { 0 };
            let mut codes = Vec::new();
            self.explode(dictionary.value(code, at), *position, &mut codes)?;
            if number == 0 {
                all = codes;
                continue;
            }
            let len = self.combinations([all.len() / number, codes.len()])?.saturating_mul(number + 1);
            both.resize((all.len() + len).saturating_mul(size_of::<u32>()))?;
            let mut longer = Vec::with_capacity(len);
            for (key, code) in all.chunks(number).flat_map(|key| codes.iter().map(move |code| (key, *code))) {
                longer.extend_from_slice(key);
                longer.push(code);
            }
            all = longer;
        }
        Ok(all)
    }

    /// The number of combinations of lists of these lengths, within the bound of buckets.
    pub(super) fn combinations(&self, counts: impl IntoIterator<Item = usize>) -> Result<usize> {
        let product = counts.into_iter().try_fold(1_usize, usize::checked_mul);
        product.filter(|product| *product <= self.aggregation.buckets_max).ok_or_else(|| self.too_many_buckets())
    }

    fn too_many_buckets(&self) -> Error {
        let max = self.aggregation.buckets_max;
        Error::limit(format!("a group-by has more than {max} buckets: see GroupBy::buckets_max buckets_max={max}"))
    }

    /// The codes of one value: its own, or those of the distinct elements of a list.
    fn explode(&mut self, value: Option<ValueBytes<'_>>, position: usize, list: &mut Vec<u32>) -> Result<()> {
        let start = list.len();
        match value {
            Some(value) if value.kind() == ValueKind::List => match value.elements(usize::MAX) {
                Some(elements) if !elements.is_empty() => {
                    for element in elements {
                        list.extend(self.code_of(Some(element), position)?);
                    }
                    deduplicate(list, start, 1);
                }
                _ => list.extend(self.code_of(None, position)?),
            },
            value => list.extend(self.code_of(value, position)?),
        }
        Ok(())
    }

    /// The code of a value, or of its interval, unless it makes no bucket.
    fn code_of(&mut self, value: Option<ValueBytes<'_>>, position: usize) -> Result<Option<u32>> {
        let Self { aggregation, values, .. } = self;
        let breakdown: Option<&Breakdown> = aggregation.by.get(position);
        let keep = breakdown.and_then(|breakdown| breakdown.keep.as_ref());
        let Some(bytes) = value.filter(|value| !value.is_null()) else {
            return Ok(keep.is_none_or(|keep| keep(&Value::Null)).then_some(NOT_SET));
        };
        if let Some(keep) = keep
            && !keep(&decoded(bytes))
        {
            return Ok(None);
        }
        if let Some(width) = breakdown.and_then(|breakdown| breakdown.width.as_ref()) {
            let number = if bytes.kind() == ValueKind::Number { decoded(bytes).as_number().cloned() } else { None };
            let Some(floor) = number.and_then(|number| number.floor_to(width)) else { return Ok(Some(NOT_SET)) };
            let mut bytes = Vec::new();
            codec::write_value(&mut bytes, &Value::Number(floor.without_float()));
            return values.intern(&bytes).map(Some);
        }
        if bytes.kind() == ValueKind::Other {
            return values.intern(bytes.as_bytes()).map(Some);
        }
        // Equal numbers may have different bytes.
        let mut normal = Vec::new();
        codec::write_value(&mut normal, &decoded(bytes).without_floats());
        values.intern(&normal).map(Some)
    }

    /// The bucket of a group key.
    pub(super) fn bucket(&mut self, codes: &[u32]) -> Result<u32> {
        let mut key = [0_u8; 4 * 8];
        let wide: Vec<u8>;
        let key = match key.get_mut(..codes.len() * 4) {
            Some(key) => {
                key.chunks_exact_mut(4).zip(codes).for_each(|(to, code)| to.copy_from_slice(&code.to_le_bytes()));
                &*key
            }
            None => {
                wide = codes.iter().flat_map(|code| code.to_le_bytes()).collect();
                wide.as_slice()
            }
        };
        let bucket = self.keys.intern(key)?;
        if self.accumulators.len() < self.keys.len() * self.measures.len() {
            if self.keys.len() > self.aggregation.buckets_max {
                return Err(self.too_many_buckets());
            }
            let capacity = self.accumulators.capacity();
            if grown(capacity, self.accumulators.len(), self.measures.len()) > capacity {
                // Growing copies them.
                self.reserve(capacity.max(self.measures.len() + 8).saturating_mul(2 * size_of::<Accumulator>()))?;
            }
            let by_bucket = self.users_by_bucket;
            self.accumulators.extend(self.measures.iter().map(|(measure, _)| match measure {
                Measure::Uniques if by_bucket => Accumulator::Users(OrdinalSet::default()),
                measure => Accumulator::new(measure),
            }));
        }
        Ok(bucket)
    }

    fn measure(&mut self, block: &Block, event: usize, bucket: u32) -> Result<()> {
        let first = bucket as usize * self.measures.len();
        let user = if self.users_by_bucket { user_of(block, event)? } else { None };
        let new_user = self.counts_users && !self.users_by_bucket && self.add_user(block, event, bucket)?;
        for (at, (measure, column)) in self.measures.iter().enumerate() {
            let Some(accumulator) = self.accumulators.get_mut(first + at) else { continue };
            match measure {
                Measure::Count => accumulator.count(1),
                Measure::Uniques if self.users_by_bucket => {
                    self.held -= accumulator.held_bytes();
                    accumulator.take_users(user.as_slice());
                    self.held += accumulator.held_bytes();
                }
                Measure::Uniques => accumulator.count(u64::from(new_user)),
                _ => {
                    self.held -= accumulator.held_bytes();
                    match block.cell(event, *column) {
                        ColumnValue::Stored(value) => accumulator.take(value),
                        cell => cell.value().into_iter().for_each(|value| accumulator.take_value(value)),
                    }
                    self.held += accumulator.held_bytes();
                }
            }
        }
        if self.held > self.reserved_held { self.reserve(0) } else { Ok(()) }
    }

    /// Adds the user of an event to the distinct set of a bucket. Returns whether it is new there. Anonymous events
    /// have no user.
    fn add_user(&mut self, block: &Block, event: usize, bucket: u32) -> Result<bool> {
        let id = block.id_bytes(event);
        if id.is_empty() {
            return Ok(false);
        }
        if let Some(ordinal) = block.ordinals().get(block.run(event)).filter(|_| self.users_by_ordinal) {
            return self.add_ordinal(bucket, *ordinal);
        }
        let user = self.users.intern(id)?;
        self.add_user_code(bucket, user)
    }

    /// Adds a user who is known by ordinal.
    pub(super) fn add_ordinal(&mut self, bucket: u32, ordinal: u32) -> Result<bool> {
        let user = self.users.intern(&ordinal.to_be_bytes())?;
        self.add_user_code(bucket, user)
    }

    /// Whether there are users in distinct sets.
    pub(super) fn has_users(&self) -> bool {
        self.bucket_users.len() > 0
    }

    fn add_user_code(&mut self, bucket: u32, user: u32) -> Result<bool> {
        let before = self.bucket_users.len();
        let mut pair = [0; 8];
        let (to_bucket, to_user) = pair.split_at_mut(4);
        to_bucket.copy_from_slice(&bucket.to_le_bytes());
        to_user.copy_from_slice(&user.to_le_bytes());
        self.bucket_users.intern(&pair)?;
        Ok(self.bucket_users.len() > before)
    }

    pub(super) fn end_task(&mut self) {
        if self.users_end_with_task && self.counts_users {
            self.users.clear();
            self.bucket_users.clear();
        }
    }

    /// Reserves what accumulators and caches take, and some bytes for what they will.
    pub(super) fn reserve(&mut self, more: usize) -> Result<()> {
        let accumulators = self.accumulators.capacity() * size_of::<Accumulator>();
        self.reserved_held = self.held;
        self.reservation.resize((accumulators + self.held + self.cached).saturating_add(more))
    }

    /// Merges the hash table of another worker into this one.
    pub(super) fn merge(&mut self, other: &Self) -> Result<()> {
        let width = self.aggregation.by.len();
        let mut numbers = self.budget.reservation();
        numbers.resize(other.keys.len() * size_of::<u32>())?;
        let mut buckets = Vec::with_capacity(other.keys.len());
        for bucket in other.keys.codes() {
            let mut codes = Vec::with_capacity(width);
            for code in codes_of_key(other.keys.get(bucket)) {
                codes.push(self.values.intern(other.values.get(code))?);
            }
            let number = self.bucket(&codes)?;
            buckets.push(number);
            let first = bucket as usize * self.measures.len();
            let theirs = other.accumulators.get(first..first + self.measures.len()).unwrap_or_default();
            let incoming: usize = theirs.iter().map(Accumulator::held_bytes).sum();
            if incoming > 0 {
                self.reserve(incoming)?;
            }
            for (at, (measure, _)) in self.measures.iter().enumerate() {
                let place = |bucket: u32| bucket as usize * self.measures.len() + at;
                // A user in both distinct sets must not count twice.
                let by_set = *measure == Measure::Uniques && !self.users_end_with_task && !self.users_by_bucket;
                if let (false, Some(to), Some(from)) =
                    (by_set, self.accumulators.get_mut(place(number)), other.accumulators.get(place(bucket)))
                {
                    self.held -= to.held_bytes();
                    to.merge(from);
                    self.held += to.held_bytes();
                }
            }
            if self.held > self.reserved_held {
                self.reserve(0)?;
            }
        }
        for pair in other.bucket_users.codes() {
            let mut parts = codes_of_key(other.bucket_users.get(pair));
            let (Some(bucket), Some(user)) = (parts.next(), parts.next()) else { continue };
            let Some(bucket) = buckets.get(bucket as usize).copied() else { continue };
            let user = self.users.intern(other.users.get(user))?;
            if self.add_user_code(bucket, user)? {
                for (at, (measure, _)) in self.measures.iter().enumerate() {
                    let place = bucket as usize * self.measures.len() + at;
                    if *measure == Measure::Uniques {
                        self.accumulators.get_mut(place).into_iter().for_each(|users| users.count(1));
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn answer(mut self) -> Result<Answer> {
        // They are counted by now.
        (self.users, self.bucket_users) = (Interner::default(), Interner::default());
        let Aggregation { by, top, .. } = &*self.aggregation;
        let top = top.unwrap_or(usize::MAX);
        let decode = |code: u32| (code != NOT_SET).then(|| decoded(ValueBytes::new(self.values.get(code))));
        let total = self.keys.len();
        let room = total.min(top.saturating_add(top.max(TOP_SLACK)));
        let mut memory = self.budget.reservation();
        let mut bytes = room.saturating_mul(size_of::<Bucket>());
        memory.resize(bytes)?;
        let mut buckets: Vec<Bucket> = Vec::with_capacity(room);
        for (number, measures) in self.keys.codes().zip(self.accumulators.chunks(self.measures.len())) {
            if buckets.len() == room {
                buckets.sort_unstable_by(by_first_measure);
                bytes -= buckets.iter().skip(top).map(held_bytes).sum::<usize>();
                buckets.truncate(top);
            }
            let mut values = Vec::with_capacity(by.len());
            values.extend(codes_of_key(self.keys.get(number)).map(decode));
            buckets.push(Bucket { by: values, measures: measures.iter().map(Accumulator::value).collect() });
            bytes += buckets.last().map_or(0, held_bytes);
            memory.resize(bytes)?;
        }
        buckets.sort_unstable_by(by_first_measure);
        buckets.truncate(top);
        Ok(Answer {
            by: by.iter().map(ToString::to_string).collect(),
            measures: self.measures.iter().map(|(measure, _)| measure.to_string()).collect(),
            buckets,
            total,
        })
    }
}

/// The order of buckets. No two have the same values.
fn by_first_measure(a: &Bucket, b: &Bucket) -> Ordering {
    // Not set sorts after everything that is set.
    let not_set_last = |value| (Option::is_none(value), value);
    let by = || a.by.iter().map(not_set_last).cmp(b.by.iter().map(not_set_last));
    b.measures.first().cmp(&a.measures.first()).then_with(by)
}

/// What a bucket holds besides itself, in bytes.
fn held_bytes(bucket: &Bucket) -> usize {
    let held: usize = bucket.by.iter().flatten().chain(&bucket.measures).map(Value::held_bytes).sum();
    size_of_val(bucket.by.as_slice()) + size_of_val(bucket.measures.as_slice()) + held
}

/// Makes the entries of a list distinct from one on, each of which is some codes. Their order has no meaning.
fn deduplicate(list: &mut Vec<u32>, start: usize, width: usize) {
    let Some(entries) = list.get(start..) else { return };
    let count = entries.len() / width.max(1);
    if count < 2 || (count == 2 && entries.get(..width) != entries.get(width..)) {
        return;
    }
    let mut entries: Vec<&[u32]> = entries.chunks(width).collect();
    entries.sort_unstable();
    entries.dedup();
    let distinct = entries.concat();
    list.truncate(start);
    list.extend(distinct);
}

/// The ordinal of the user of an event, unless it is anonymous.
fn user_of(block: &Block, event: usize) -> Result<Option<u32>> {
    if block.id_bytes(event).is_empty() {
        return Ok(None);
    }
    let ordinal = block.ordinals().get(block.run(event)).copied();
    ordinal.map(Some).ok_or_else(|| Error::corrupt("an event of a log in columns whose user has no ordinal"))
}

fn codes_of_key(key: &[u8]) -> impl Iterator<Item = u32> {
    key.chunks_exact(4).filter_map(|code| code.try_into().ok().map(u32::from_le_bytes))
}

/// Puts a combination of one entry of each list into a group key. Combinations are numbered as digits of a number are.
#[inline]
pub(super) fn put_combination(mut number: usize, sources: &[KeySource], lists: &[Vec<u32>], key: &mut [u32]) {
    for (source, list) in sources.iter().zip(lists) {
        let width = source.fields.len();
        let mut at = 0;
        if list.len() > width {
            let entries = list.len() / width;
            at = number % entries * width;
            number /= entries;
        }
        let codes = list.iter().skip(at);
        for ((_, position), code) in source.fields.iter().zip(codes) {
            key.get_mut(*position).into_iter().for_each(|to| *to = *code);
        }
    }
}
