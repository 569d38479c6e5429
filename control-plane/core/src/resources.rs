//! Resources by name, in pieces: a change copies the pieces that it touches, and shares the others with
//! what was before.

use std::sync::Arc;

use crate::batch::{Piece, Sums};
use crate::encode::EncodedResource;
use crate::snapshot::ResourceName;

/// Resources in a piece: few enough that to copy one, or to leave one out, costs little.
const PIECE_LEN: usize = 64;
/// Bytes of the resources in a piece, unless it is one.
const PIECE_BYTES: usize = 64 << 10;

/// Resources of a type.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resources {
    /// In order, as are the resources in each; none is empty.
    pieces: Arc<Vec<Piece>>,
    len: usize,
    sums: Sums,
}

impl Resources {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn sums(&self) -> Sums {
        self.sums
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub(crate) fn get(&self, name: &str) -> Option<&EncodedResource> {
        let piece = self.pieces.get(self.piece_of(name))?;
        let at = piece.binary_search_by(|resource| (*resource.name).cmp(name)).ok()?;
        Some(&piece[at])
    }

    /// Those from a name on.
    pub(crate) fn from<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a EncodedResource> {
        let pieces = self.pieces.get(self.piece_of(name)..).unwrap_or_default();
        pieces.iter().flat_map(|piece| piece.iter()).skip_while(move |resource| *resource.name < *name)
    }

    /// Where a name is, or would be.
    fn piece_of(&self, name: &str) -> usize {
        self.pieces.partition_point(|piece| piece.first().is_some_and(|first| *first.name <= *name)).saturating_sub(1)
    }

    /// Puts what is some, removes what is none; the names are in order, and each comes once.
    pub(crate) fn write(&mut self, writes: impl Iterator<Item = (ResourceName, Option<EncodedResource>)>) {
        let old = std::mem::take(&mut self.pieces);
        let mut writes = writes.peekable();
        let mut pieces: Vec<Piece> = Vec::with_capacity(old.len() + 1);
        for (number, piece) in old.iter().enumerate() {
            let next = old.get(number + 1).and_then(|piece| piece.first()).map(|first| &first.name);
            let is_here = |name: &ResourceName| next.is_none_or(|next| name < next);
            if writes.peek().is_none_or(|(name, _)| !is_here(name)) {
                pieces.push(piece.clone());
                continue;
            }
            let here = std::iter::from_fn(|| writes.next_if(|(name, _)| is_here(name)));
            let merged = self.merge(piece, here);
            let before = pieces.pop_if(|before| before.len() + merged.len() <= PIECE_LEN / 2);
            let all = before.iter().flat_map(|before| before.iter()).cloned().chain(merged);
            cut(all, &mut pieces);
        }
        let rest = self.merge(&[], writes);
        cut(rest.into_iter(), &mut pieces);
        self.pieces = Arc::new(pieces);
    }

    fn merge(
        &mut self,
        piece: &[EncodedResource],
        writes: impl Iterator<Item = (ResourceName, Option<EncodedResource>)>,
    ) -> Vec<EncodedResource> {
        let mut merged = Vec::with_capacity(piece.len() + 1);
        let mut old = piece.iter().peekable();
        for (name, value) in writes {
            merged.extend(std::iter::from_fn(|| old.next_if(|one| one.name < name)).cloned());
            if let Some(gone) = old.next_if(|one| one.name == name) {
                self.sums = self.sums.minus(gone.sums());
                self.len -= 1;
            }
            if let Some(value) = value {
                self.sums = self.sums.plus(value.sums());
                self.len += 1;
                merged.push(value);
            }
        }
        merged.extend(old.cloned());
        merged
    }
}

fn cut(resources: impl Iterator<Item = EncodedResource>, pieces: &mut Vec<Piece>) {
    let mut resources = resources.peekable();
    while let Some(first) = resources.next() {
        let mut bytes = first.entry.len();
        let mut piece = vec![first];
        let mut fits = |len: usize, next: &EncodedResource| {
            bytes += next.entry.len();
            len < PIECE_LEN && bytes <= PIECE_BYTES
        };
        while let Some(next) = resources.next_if(|next| fits(piece.len(), next)) {
            piece.push(next);
        }
        pieces.push(piece.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rutter_api::ResourceType;

    use super::*;

    fn resource(name: &str, body: &[u8]) -> EncodedResource {
        EncodedResource::new(ResourceType::Cluster, name.into(), body)
    }

    proptest! {
        #[test]
        fn it_is_a_map(rounds in prop::collection::vec(prop::collection::vec((0..600u32, any::<Option<u8>>()), 0..200), 1..20)) {
            let mut model = BTreeMap::new();
            let mut resources = Resources::default();
            for writes in rounds {
                let mut batch = BTreeMap::new();
                for (number, body) in writes {
                    let name: ResourceName = format!("n{number}").into();
                    let value = body.map(|body| resource(&name, &[body]));
                    batch.insert(name.clone(), value.clone());
                    match value {
                        Some(value) => model.insert(name, value),
                        None => model.remove(&name),
                    };
                }
                let before = resources.clone();
                resources.write(batch.into_iter());
                prop_assert_eq!(resources.len(), model.len());
                let (got, want): (Vec<_>, Vec<_>) = (resources.from("").map(|one| (&one.name, one.version)).collect(), model.values().map(|one| (&one.name, one.version)).collect());
                prop_assert_eq!(got, want);
                prop_assert_eq!(resources.sums(), Sums::all(model.values().map(|one| (&*one.name, one.version.number()))));
                prop_assert!(resources.pieces().iter().all(|piece| !piece.is_empty() && piece.len() <= PIECE_LEN));
                prop_assert!(resources.pieces().len() <= 2 + model.len() / (PIECE_LEN / 8) );
                for name in ["n0", "n3", "n599", "zzz"] {
                    prop_assert_eq!(resources.get(name).map(|one| one.version), model.get(name).map(|one| one.version));
                    prop_assert_eq!(resources.from(name).next().map(|one| &one.name), model.range(ResourceName::from(name)..).next().map(|(name, _)| name));
                }
                drop(before);
            }
        }
    }

    #[test]
    fn a_change_copies_one_piece() {
        let name = |number: usize| ResourceName::from(format!("n{number:05}"));
        let mut resources = Resources::default();
        resources.write((0..1000).map(|number| (name(number), Some(resource(&name(number), b"x")))));
        let before = resources.clone();
        resources.write([(name(500), Some(resource(&name(500), b"y")))].into_iter());
        let kept = resources.pieces().iter().filter(|piece| before.pieces().iter().any(|old| Arc::ptr_eq(old, piece)));
        assert_eq!((kept.count(), resources.pieces().len()), (15, 16));
    }
}
