//! The operators by name: the one list of them.

/// An operator of an update object, without its operand.
///
/// Several operators in one object are applied in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operator {
    Set,
    SetOnce,
    Merge,
    Add,
    Append,
    Union,
    Remove,
    Unset,
    Delete,
}

impl Operator {
    const ALL: [Self; 9] = [
        Self::Set,
        Self::SetOnce,
        Self::Merge,
        Self::Add,
        Self::Append,
        Self::Union,
        Self::Remove,
        Self::Unset,
        Self::Delete,
    ];

    /// The name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Set => "$set",
            Self::SetOnce => "$set_once",
            Self::Merge => "$merge",
            Self::Add => "$add",
            Self::Append => "$append",
            Self::Union => "$union",
            Self::Remove => "$remove",
            Self::Unset => "$unset",
            Self::Delete => "$delete",
        }
    }

    /// The operator of this name, if there is one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.name() == name)
    }
}
