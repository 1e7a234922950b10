//! Lists of integers in the types in which callers have them.

/// Conversions to an enum with a variant for slices of each of some types, and what is read from it.
macro_rules! integers {
    ($name:ident: $($type:ty => $variant:ident),*) => {
        $(
            impl<'a> From<&'a [$type]> for $name<'a> {
                fn from(list: &'a [$type]) -> Self {
                    $name::$variant(list)
                }
            }

            impl<'a> From<&'a Vec<$type>> for $name<'a> {
                fn from(list: &'a Vec<$type>) -> Self {
                    $name::$variant(list)
                }
            }

            impl<'a, const N: usize> From<&'a [$type; N]> for $name<'a> {
                fn from(list: &'a [$type; N]) -> Self {
                    $name::$variant(list)
                }
            }
        )*

        impl $name<'_> {
            fn len(self) -> usize {
                match self {
                    $($name::$variant(list) => list.len(),)*
                }
            }

            /// A number of the list; `None` if it is negative, or larger than any slice.
            fn get(self, at: usize) -> Option<usize> {
                match self {
                    $($name::$variant(list) => list[at].try_into().ok(),)*
                }
            }
        }
    };
}
pub(crate) use integers;
