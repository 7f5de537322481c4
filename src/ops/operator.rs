//! The operators by name, defined in one list.

/// Defines [`Operator`], so that both directions between operators and names are compiled from one list.
macro_rules! operators {
    ($($operator:ident $name:literal)*) => {
        /// An operator of an update object, without its operand.
        ///
        /// Several operators in one object are applied in this order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Operator {
            $($operator,)*
        }

        impl Operator {
            /// The name on the wire.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$operator => $name,)*
                }
            }

            /// The operator of this name, if there is one.
            pub(crate) fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$operator),)*
                    _ => None,
                }
            }
        }
    };
}

operators! {
    Set "$set"
    SetOnce "$set_once"
    Merge "$merge"
    Add "$add"
    Append "$append"
    Union "$union"
    Remove "$remove"
    Unset "$unset"
    Delete "$delete"
}
