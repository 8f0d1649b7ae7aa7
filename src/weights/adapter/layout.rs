//! What an adapter must know of its base beyond the names of its tensors.

/// How a base's tensors are named and laid out.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// What may precede the names of tensors; one checkpoint has one of them, another, or an adapter, another.
    pub prefixes: &'static [&'static str],
    /// Where the matrices of layers are `[in, out]`: what their names start with after the prefix.
    pub transposed: Option<String>,
    /// Where the output head is the embedding: the name that the head's tensor would have, and the embedding's.
    pub tied: Option<[String; 2]>,
}

impl Layout {
    /// A name without its prefix.
    fn without_prefix<'a>(&self, name: &'a str) -> &'a str {
        let prefixes = self.prefixes.iter();
        let shortest = prefixes.filter_map(|prefix| name.strip_prefix(prefix));
        shortest.min_by_key(|rest| rest.len()).unwrap_or(name)
    }

    /// The names that a tensor may have in the base, its own first.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        let rest = self.without_prefix(name);
        let others = self.prefixes.iter();
        let others = others.map(|prefix| format!("{prefix}{rest}"));
        std::iter::once(name.to_owned()).chain(others).collect()
    }

    /// Whether the base holds this matrix as `[in, out]`.
    pub(super) fn is_transposed(&self, name: &str) -> bool {
        let name = self.without_prefix(name);
        let layers = self.transposed.as_ref();
        layers.is_some_and(|layers| name.starts_with(layers.as_str()))
    }
}
