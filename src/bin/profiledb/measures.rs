//! The measures of a group-by, in the order of the command line: buckets are ordered by the first.

use clap::builder::Command;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Args, FromArgMatches};
use profiledb::join::{Field, Measure};

use crate::failure::Failure;

/// One measure, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Typed {
    name: &'static str,
    /// The argument of those that take a field.
    field: Option<String>,
}

/// The measures of a command line: of events, or of profiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measures<const OF_PROFILES: bool>(Vec<Typed>);

const OF_EVENTS: [(&str, &str); 2] = [
    ("count", "Count events. The default with --by"),
    ("uniques", "Count distinct users. Anonymous events, without a distinct_id, are not counted"),
];

/// Every profile is a distinct one.
const OF_PROFILES: [(&str, &str); 1] = [("count", "Count profiles. The default")];

const OF_FIELD: [(&str, &str); 8] = [
    ("sum", "Sum the numbers of a field, exactly"),
    ("min", "The least value of a field"),
    ("max", "The greatest value of a field"),
    ("avg", "The mean of the numbers of a field"),
    ("median", "The lower median of the numbers of a field, exactly, as --p90, --p95 and --p99"),
    ("p90", "The 90th percentile of the numbers of a field"),
    ("p95", "The 95th percentile of the numbers of a field"),
    ("p99", "The 99th percentile of the numbers of a field"),
];

/// The name of the group of all their flags.
pub(crate) const GROUP: &str = "measures";

impl<const PROFILES: bool> Measures<PROFILES> {
    const PLAIN: &[(&str, &str)] = if PROFILES { &OF_PROFILES } else { &OF_EVENTS };

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each once, in the order of first mention. A function reads their fields.
    pub(crate) fn read(&self, read: impl Fn(&str) -> Result<Field, Failure>) -> Result<Vec<Measure>, Failure> {
        let mut measures = Vec::new();
        for Typed { name, field } in &self.0 {
            // Those of a field have one.
            let field =
                || read(field.as_deref().unwrap_or_default()).map_err(|error| error.during(format!("--{name}")));
            let measure = match *name {
                "count" => Measure::Count,
                "uniques" => Measure::Uniques,
                "sum" => Measure::Sum(field()?),
                "min" => Measure::Min(field()?),
                "max" => Measure::Max(field()?),
                "median" => Measure::Percentile(field()?, 50),
                "p90" => Measure::Percentile(field()?, 90),
                "p95" => Measure::Percentile(field()?, 95),
                "p99" => Measure::Percentile(field()?, 99),
                _ => Measure::Avg(field()?),
            };
            if !measures.contains(&measure) {
                measures.push(measure);
            }
        }
        Ok(measures)
    }
}

impl<const PROFILES: bool> FromArgMatches for Measures<PROFILES> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut typed = Vec::new();
        for (name, _) in Self::PLAIN.iter().copied() {
            if matches.get_flag(name) {
                let places = matches.indices_of(name).into_iter().flatten();
                typed.extend(places.map(|place| (place, Typed { name, field: None })));
            }
        }
        for (name, _) in OF_FIELD {
            let fields = matches.get_many::<String>(name).into_iter().flatten();
            let places = matches.indices_of(name).into_iter().flatten();
            typed.extend(places.zip(fields.cloned()).map(|(place, field)| (place, Typed { name, field: Some(field) })));
        }
        typed.sort_by_key(|(place, _)| *place);
        Ok(Self(typed.into_iter().map(|(_, typed)| typed).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<const PROFILES: bool> Args for Measures<PROFILES> {
    fn augment_args(command: Command) -> Command {
        let plain = Self::PLAIN.iter().copied();
        let value = if PROFILES { "NAME" } else { "FIELD" };
        let of_field = OF_FIELD.map(|(name, help)| {
            let help = if PROFILES { help.replace("a field", "a property") } else { help.to_owned() };
            Arg::new(name).long(name).help(help).value_name(value).action(ArgAction::Append)
        });
        let names = plain.clone().chain(OF_FIELD).map(|(name, _)| name);
        let plain = plain.map(|(name, help)| Arg::new(name).long(name).help(help).action(ArgAction::SetTrue));
        let group = ArgGroup::new(GROUP).args(names).multiple(true);
        command.args(plain).args(of_field).group(group)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_keep_their_order() {
        let read = |args: &str| {
            let command = Measures::<false>::augment_args(Command::new("x").no_binary_name(true));
            let matches = command.try_get_matches_from(args.split_whitespace()).unwrap();
            let measures = Measures::<false>::from_arg_matches(&matches).unwrap();
            measures
                .read(|text| Ok(text.parse()?))
                .map(|read| read.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (typed, expected) in [
            ("", ""),
            ("--count", "count"),
            ("--sum event.b --count --sum event.a --uniques", "sum(event.b) count sum(event.a) uniques"),
            ("--p99 event.x --median event.x --p99 event.x", "p99(event.x) p50(event.x)"),
            ("--avg user.x --min user.y --max user.x --min user.y", "avg(user.x) min(user.y) max(user.x)"),
        ] {
            assert_eq!(read(typed).unwrap(), expected);
        }
        let said = read("--sum x").unwrap_err().to_string();
        assert!(said.starts_with("--sum: invalid: not a field"), "{said}");
    }
}
