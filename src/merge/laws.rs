//! The law on bytes: however an engine groups operands, the row is the same, byte for byte.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};

use super::{earliest, full, keep, partial};
use crate::codec::{
    Operand, OperandWriter, decode_profile, encode_update, inspect, is_readable, operand_names, project_row,
    project_write, quarantine_of,
};
use crate::model::Profile;
use crate::ops::Update;

/// One step of an engine on a history. Positions are taken modulo the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Compose a run of operands into one.
    Partial {
        /// The start of the run.
        at: u8,
        /// The number of its operands.
        len: u8,
    },
    /// Fold the oldest operands onto the row.
    Full {
        /// The number of operands.
        len: u8,
    },
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(if u.ratio(1, 4)? {
            Self::Full { len: u.arbitrary()? }
        } else {
            Self::Partial { at: u.arbitrary()?, len: u.int_in_range(1..=6)? }
        })
    }
}

/// Folds `before` into a row and then `after` onto it, grouped by `steps`, and compares the row with that of a single
/// full merge, byte for byte, and its profile with that of the reference fold. Projections that follow from operands
/// are compared with those of the row.
///
/// # Errors
///
/// A description of the difference.
pub fn check_grouping(before: &[Update], after: &[Update], steps: &[Step]) -> Result<(), String> {
    let row = |base: Option<&[u8]>, updates: &[Update]| {
        let operands: Vec<Vec<u8>> = updates.iter().map(encode_update).collect();
        full(base, &slices(&operands))
    };
    let base = (!before.is_empty()).then(|| row(None, before));
    let once = row(base.as_deref(), after);

    let operands: Vec<Vec<u8>> = after.iter().map(encode_update).collect();
    check_projections(base.as_deref(), &operands)?;
    let grouped = run(base, operands, steps)?;
    if grouped != once {
        return Err(format!("grouped {grouped:02x?}, at once {once:02x?}"));
    }
    let expected = Profile::fold(before.iter().chain(after));
    let seen = decode_profile(&once).map_err(|error| error.to_string())?;
    let same = match (&expected, &seen) {
        (Some(expected), Some(seen)) => expected.is_identical(seen),
        (None, None) => true,
        _ => false,
    };
    if same { Ok(()) } else { Err(format!("reference fold {expected:?}, merged {seen:?}")) }
}

/// The projection of a row that follows from operands, and from that of the row before, is that of their fold.
fn check_projections(base: Option<&[u8]>, operands: &[Vec<u8>]) -> Result<(), String> {
    let operands = slices(operands);
    let names: BTreeSet<&str> = operands.iter().flat_map(|operand| operand_names(operand)).collect();
    let names: Vec<Box<str>> = names.into_iter().map(Box::from).collect();
    let project = |row: &[u8]| {
        let mut tuple = Vec::new();
        let exists = project_row(row, &names, &mut tuple).map_err(|error| error.to_string())?;
        Ok::<_, String>(exists.then_some(tuple))
    };
    let of_base = base.map_or(Ok(None), project)?;
    let mut before = of_base.clone();
    for (at, operand) in operands.iter().enumerate() {
        let until = operands.get(..=at).unwrap_or_default();
        let (row, composed) = (full(base, until), partial(until));
        let expected = project(&row)?;
        for (before, written) in [(&before, *operand), (&before, &row), (&of_base, &composed)] {
            let mut tuple = Vec::new();
            let Some(exists) = project_write(written, &names, before.as_deref(), &mut tuple) else { continue };
            if exists.then_some(&tuple) != expected.as_ref() {
                return Err(format!("{written:02x?} onto {before:02x?} gives {tuple:02x?}, the row {expected:02x?}"));
            }
        }
        before = expected;
    }
    Ok(())
}

fn run(mut base: Option<Vec<u8>>, mut operands: Vec<Vec<u8>>, steps: &[Step]) -> Result<Vec<u8>, String> {
    for step in steps {
        if operands.is_empty() {
            break;
        }
        match *step {
            Step::Partial { at, len } => {
                let at = usize::from(at) % operands.len();
                let end = (at + usize::from(len)).min(operands.len());
                let taken: Vec<Vec<u8>> = operands.drain(at..end).collect();
                let composed = partial(&slices(&taken));
                if !is_readable(&composed) && !is_stamp(&composed) {
                    return Err(format!("a partial merge cannot be read: {composed:02x?}"));
                }
                operands.insert(at, composed);
            }
            Step::Full { len } => {
                let taken: Vec<Vec<u8>> = operands.drain(..usize::from(len) % (operands.len() + 1)).collect();
                // No engine merges without a row and without operands.
                if base.is_some() || !taken.is_empty() {
                    base = Some(full(base.as_deref(), &slices(&taken)));
                }
            }
        }
    }
    Ok(full(base.as_deref(), &slices(&operands)))
}

fn is_stamp(bytes: &[u8]) -> bool {
    earliest(std::iter::once(bytes)).is_some()
}

/// Decodes readable bytes and encodes them again: the bytes must be the same.
fn check_canonical(bytes: &[u8]) -> Result<(), String> {
    let mut entries = Vec::new();
    let Ok(operand) = Operand::check(bytes, &mut entries) else { return Ok(()) };
    let mut writer = OperandWriter::new(operand.presence, &operand.quarantine.collect::<Vec<_>>(), bytes.len());
    for entry in entries {
        let chain = entry.chain.decode();
        let chain = chain.map_err(|error| format!("{:?} was checked and does not decode: {error:?}", entry.chain))?;
        writer.chain(entry.name, &chain);
    }
    let again = writer.finish();
    if again == bytes { Ok(()) } else { Err(format!("read {bytes:02x?}, written {again:02x?}")) }
}

/// Merges arbitrary bytes: nothing panics, and readable inputs and results are canonical. Unreadable inputs are in
/// quarantine byte for byte and in order, and readable ones take effect.
///
/// # Errors
///
/// A description of what was lost.
pub fn check_total(base: Option<&[u8]>, operands: &[&[u8]]) -> Result<(), String> {
    let row = full(base, operands);
    let composed = partial(operands);
    let in_two_steps = full(base, &[composed.as_slice()]);
    let inputs = || base.into_iter().chain(operands.iter().copied());
    if let Some(least) = earliest(inputs()) {
        let same = row == least && (operands.is_empty() || in_two_steps == least);
        return if same { Ok(()) } else { Err(format!("first-event times give {row:02x?} and {in_two_steps:02x?}")) };
    }
    inspect(&row).map_err(|error| format!("a full merge cannot be read: {error}"))?;
    if !is_readable(&composed) && !is_stamp(&composed) {
        return Err(format!("a partial merge cannot be read: {composed:02x?}"));
    }
    if in_two_steps != row {
        return Err(format!("in two steps {in_two_steps:02x?}, at once {row:02x?}"));
    }

    for input in inputs().chain([row.as_slice(), &composed]) {
        check_canonical(input)?;
    }
    let unread: Vec<Vec<u8>> = inputs()
        .flat_map(|input| if is_readable(input) { quarantine_of(input) } else { vec![input.to_vec()] })
        .collect();
    let mut expected = Vec::new();
    unread.iter().for_each(|bytes| keep(&mut expected, bytes));
    if quarantine_of(&row) != expected {
        return Err(format!("quarantine {:02x?}, expected {expected:02x?}", quarantine_of(&row)));
    }

    let readable: Vec<&[u8]> = operands.iter().copied().filter(|operand| is_readable(operand)).collect();
    let clean = full(base.filter(|base| is_readable(base)), &readable);
    let (seen, expected) = (decode_profile(&row), decode_profile(&clean));
    match (seen, expected) {
        (Ok(seen), Ok(expected)) => {
            let bare = |profile: Option<Profile>| {
                // A profile that only its quarantine makes visible equals none.
                profile.map(|profile| (profile.properties, profile.last_seen)).unwrap_or_default()
            };
            let (seen, expected) = (bare(seen), bare(expected));
            let same = seen.0.is_identical(&expected.0) && seen.1 == expected.1;
            if same { Ok(()) } else { Err(format!("merged {seen:?}, without the unreadable ones {expected:?}")) }
        }
        (seen, expected) => Err(format!("rows cannot be decoded: {seen:?} {expected:?}")),
    }
}

fn slices(owned: &[Vec<u8>]) -> Vec<&[u8]> {
    owned.iter().map(Vec::as_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::super::operand;
    use super::*;
    use crate::codec::encode_stamp;
    use crate::model::Timestamp;
    use crate::ops::laws::{any_update, edge_ops, edge_values};
    use proptest::prelude::*;

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (any::<u8>(), 1..6_u8).prop_map(|(at, len)| Step::Partial { at, len }),
            1 => any::<u8>().prop_map(|len| Step::Full { len }),
        ]
    }

    fn any_time() -> impl Strategy<Value = Timestamp> {
        prop_oneof![any::<i64>(), -3..3_i64, any::<i32>().prop_map(i64::from)].prop_map(Timestamp::from_millis)
    }

    /// A first-event time, an operand, a row, or unreadable bytes.
    fn any_piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => any_time().prop_map(encode_stamp),
            1 => any_update().prop_map(|update| encode_update(&update)),
            1 => any_update().prop_map(|update| full(None, &[&encode_update(&update)])),
            1 => prop::collection::vec(any::<u8>(), 0..4),
            1 => prop::collection::vec(any::<u8>(), 0..4).prop_map(|bytes| [&[0xF1], bytes.as_slice()].concat()),
            1 => any_time().prop_map(|time| partial(&[b"junk", &encode_stamp(time)])),
        ]
    }

    #[test]
    fn all_pairs_of_operators_on_all_edges_give_the_same_bytes() {
        let ops = edge_ops();
        let mut states: Vec<Vec<Update>> = vec![vec![], vec![Update::new().create()]];
        states.extend(edge_values().into_iter().map(|value| vec![Update::new().set("p", value)]));
        let groupings = [
            vec![],
            vec![Step::Full { len: 1 }],
            vec![Step::Partial { at: 0, len: 2 }],
            vec![Step::Partial { at: 0, len: 1 }, Step::Full { len: 1 }, Step::Partial { at: 0, len: 1 }],
        ];
        for f in &ops {
            for g in &ops {
                let pair = [Update::new().op("p", f.clone()), Update::new().op("p", g.clone())];
                for state in &states {
                    for steps in &groupings {
                        check_grouping(state, &pair, steps).unwrap();
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_grouping_gives_the_same_bytes(
            before in prop::collection::vec(any_update(), 0..4),
            after in prop::collection::vec(any_update(), 0..14),
            steps in prop::collection::vec(any_step(), 0..14),
        ) {
            prop_assert_eq!(check_grouping(&before, &after, &steps), Ok(()));
        }

        #[test]
        fn first_event_times_fold_into_the_earliest(
            times in prop::collection::vec(any_time(), 1..14),
            with_base in any::<bool>(),
            steps in prop::collection::vec(any_step(), 0..14),
        ) {
            let stamps: Vec<Vec<u8>> = times.iter().map(|time| encode_stamp(*time)).collect();
            let (base, rest) = if with_base { (Some(&stamps[0]), &stamps[1..]) } else { (None, &stamps[..]) };
            let least = encode_stamp(*times.iter().min().unwrap());
            prop_assert_eq!(run(base.cloned(), rest.to_vec(), &steps), Ok(least));
            prop_assert_eq!(check_total(base.map(Vec::as_slice), &slices(rest)), Ok(()));
        }

        #[test]
        fn every_grouping_of_mixed_inputs_gives_the_same_bytes(
            base in prop::option::of(any_piece()),
            operands in prop::collection::vec(any_piece(), 0..14),
            steps in prop::collection::vec(any_step(), 0..14),
        ) {
            let once = full(base.as_deref(), &slices(&operands));
            prop_assert_eq!(check_total(base.as_deref(), &slices(&operands)), Ok(()));
            prop_assert_eq!(run(base, operands, &steps), Ok(once));
        }

        #[test]
        fn damaged_operands_are_kept(
            updates in prop::collection::vec(any_update(), 1..8),
            damage in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index, u8)>(), 0..6),
            with_base in any::<bool>(),
        ) {
            let mut operands: Vec<Vec<u8>> = updates.iter().map(encode_update).collect();
            for (which, at, byte) in damage {
                let operand = which.get(&operands).clone();
                let index = at.index(operand.len());
                operands[which.index(updates.len())][index] = byte;
            }
            let operands = slices(&operands);
            let (base, rest) = if with_base { (Some(operands[0]), &operands[1..]) } else { (None, &operands[..]) };
            prop_assert_eq!(check_total(base, rest), Ok(()));
        }
    }

    #[test]
    fn a_row_among_operands_replaces_everything_before_it() {
        // RocksDB never does this. An engine with only an associative merge would.
        let before = operand(&Update::new().set("a", 1).append("l", "x").at(Timestamp::from_seconds(9)));
        let row = full(None, &[&operand(&Update::new().set("b", 2).append("l", "y"))]);
        let after = operand(&Update::new().add("b", 1).append("l", "z").append("a", 0));
        let expected = full(Some(&row), &[&after]);
        assert_eq!(full(None, &[&before, &row, &after]), expected);
        assert_eq!(full(Some(&expected), &[&before, &partial(&[&row, &after])]), expected);
        assert_eq!(partial(&[&partial(&[&before, &row]), &after]), expected);
        let profile = decode_profile(&expected).unwrap().unwrap();
        assert_eq!(serde_json::to_string(&profile).unwrap(), r#"{"a":[0],"b":3,"l":["y","z"]}"#);
    }

    #[test]
    fn what_a_write_sets_is_known_without_the_row() {
        let names: [Box<str>; 2] = ["a".into(), "b".into()];
        let tuple = |row: &[u8]| {
            let mut tuple = Vec::new();
            project_row(row, &names, &mut tuple).unwrap().then_some(tuple)
        };
        let base = full(None, &[&operand(&Update::new().set("a", 1).set("z", 1))]);
        let written = |update: Update| {
            let (operand, before) = (operand(&update), tuple(&base));
            let mut after = vec![9];
            let exists = project_write(&operand, &names, before.as_deref(), &mut after);
            assert!(exists != Some(true) || after[1..] == tuple(&full(Some(&base), &[&operand])).unwrap());
            assert!(exists == Some(true) || after == [9]);
            exists
        };
        let known = [
            Update::new().set("a", 2),
            Update::new().unset("a").set("b", "x").set("c", 1),
            Update::new().set_once("a", 3).set_once("b", 4),
            Update::new().add("z", 1),
            Update::new().remove("b", 1),
            Update::new(),
        ];
        assert!(known.into_iter().all(|update| written(update) == Some(true)));
        assert_eq!([written(Update::new().add("a", 1)), written(Update::new().append("b", 1))], [None, None]);
        // What changes profiles does not make one.
        let unset = operand(&Update::new().unset("a"));
        assert_eq!(project_write(&unset, &names, None, &mut Vec::new()), Some(false));
        let last_seen: [Box<str>; 1] = ["$last_seen".into()];
        assert_eq!(project_write(&unset, &last_seen, None, &mut Vec::new()), None);
    }

    #[test]
    fn a_million_additions_give_a_small_operand() {
        let add = encode_update(&Update::new().add("counter", 0.1));
        let operands: Vec<&[u8]> = std::iter::repeat_n(add.as_slice(), 1_000_000).collect();
        let operand = partial(&operands);
        assert!(operand.len() <= 64, "{} bytes", operand.len());
        let profile = decode_profile(&full(None, &[&operand])).unwrap().unwrap();
        assert_eq!(profile.get("counter").unwrap().as_f64(), Some(100_000.0));
    }

    #[test]
    fn a_quarantined_operand_of_an_unknown_version_is_kept() {
        let newer = [0xA2, 0xff, 1, 2, 3];
        let set = encode_update(&Update::new().set("a", 1));
        let profile = decode_profile(&full(None, &[&newer, &set])).unwrap().unwrap();
        assert_eq!(profile.quarantine(), [newer]);
        assert_eq!(profile.get("a"), Some(&1.into()));
        let hidden = decode_profile(&full(None, &[&newer])).unwrap().expect("a profile with a quarantine is visible");
        assert_eq!(hidden.quarantine(), [newer]);
    }

    #[test]
    fn the_row_after_a_panic_preserves_everything() {
        let base = full(None, &[&encode_update(&Update::new().set("a", 1))]);
        let operand = encode_update(&Update::new().set("a", 2));
        let row = crate::merge::quarantine_all(Some(&base), &[&operand]);
        let profile = decode_profile(&row).unwrap().unwrap();
        assert_eq!((profile.get("a"), profile.quarantine()), (Some(&1.into()), &[operand.clone()][..]));
        let row = crate::merge::quarantine_all(Some(b"junk"), &[&operand]);
        assert_eq!(decode_profile(&row).unwrap().unwrap().quarantine(), [b"junk".to_vec(), operand]);
    }
}
