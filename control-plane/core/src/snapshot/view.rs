//! What one client sees: three layers, the upper ones coming first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use rutter_api::ResourceType;

use super::layer::{Entry, Snapshot};
use crate::resource::{EncodedResource, ResourceList, ResourceName, Sums, Version};

/// What one client sees. See the module for what the layers are and how a name is looked up.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The lowest layer: what all clients see whose scope restricts nothing. It is empty for restricted scopes.
    pub base: Arc<Snapshot>,
    /// The middle layer, which all clients of the scope share.
    pub scope: Arc<Snapshot>,
    /// The uppermost layer: what leads to the own application, and listeners that the sidecar must really bind.
    pub sidecar: Arc<Snapshot>,
    /// The revision of the store whose change made the view what it is.
    pub revision: u64,
    /// The instant of that change. `None` means that the view was like this before the client came.
    pub since: Option<Instant>,
}

impl View {
    /// Returns the layers from the uppermost to the lowest.
    fn layers(&self) -> [&Arc<Snapshot>; 3] {
        [&self.sidecar, &self.scope, &self.base]
    }

    /// Returns the resource that the uppermost layer which says something of the name has.
    pub fn get(&self, resource_type: ResourceType, name: &str) -> Option<&EncodedResource> {
        self.layers().into_iter().find_map(|layer| layer.entry(resource_type, name))?.resource()
    }

    /// Returns whether the client sees a resource in exactly this version.
    pub fn has(&self, resource_type: ResourceType, name: &str, version: Version) -> bool {
        self.version(resource_type, name) == Some(version)
    }

    fn version(&self, resource_type: ResourceType, name: &str) -> Option<Version> {
        self.get(resource_type, name).map(|resource| resource.version)
    }

    /// Returns all resources of a type, layer by layer.
    pub fn iter(&self, resource_type: ResourceType) -> impl Iterator<Item = &EncodedResource> {
        self.with_prefix(resource_type, "")
    }

    /// Returns the resources of a type whose names begin with `prefix`, layer by layer.
    pub fn with_prefix<'a>(
        &'a self,
        resource_type: ResourceType,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a EncodedResource> {
        let is_below_sidecar =
            move |resource: &&EncodedResource| self.sidecar.entry(resource_type, &resource.name).is_none();
        let is_below_scope =
            move |resource: &&EncodedResource| self.scope.entry(resource_type, &resource.name).is_none();
        let of_scope = self.scope.with_prefix(resource_type, prefix).filter(is_below_sidecar);
        let of_base = self.base.with_prefix(resource_type, prefix).filter(is_below_scope).filter(is_below_sidecar);
        self.sidecar.with_prefix(resource_type, prefix).chain(of_scope).chain(of_base)
    }

    /// Returns the sums of all resources of a type that the client sees. The cost is that of the upper layers, which
    /// are small where the base is large. A stream compares sums to know in constant time whether a client that
    /// reconnects has everything.
    pub fn sums(&self, resource_type: ResourceType) -> Sums {
        let (sidecar, scope, base) = (&*self.sidecar, &*self.scope, &*self.base);
        let lower = base.sums(resource_type).plus(scope.sums(resource_type));
        let lower = lower.minus(sums_below(resource_type, scope, &[base]));
        lower.plus(sidecar.sums(resource_type)).minus(sums_below(resource_type, sidecar, &[scope, base]))
    }

    /// Returns all resources of a type as chunks, which are shared with everybody who sees the same. Only chunks in
    /// which an upper layer has a say are copied. The order is that of the layers and, within each, of the names.
    pub fn list(&self, resource_type: ResourceType) -> ResourceList {
        let mut list = ResourceList::default();
        let mut covered: BTreeSet<&ResourceName> = BTreeSet::new();
        let layers = self.layers();
        for (number, layer) in layers.into_iter().enumerate() {
            for chunk in layer.resource_map(resource_type).chunks() {
                let range = chunk.first().zip(chunk.last()).map(|(first, last)| &first.name..=&last.name);
                if range.is_some_and(|range| covered.range::<&ResourceName, _>(range).next().is_some()) {
                    list.push(chunk.iter().filter(|resource| !covered.contains(&resource.name)).cloned().collect());
                } else {
                    list.push(chunk.clone());
                }
            }
            if layers[number + 1..].iter().any(|lower| !lower.is_silent(resource_type)) {
                covered.extend(layer.names(resource_type));
            }
        }
        list
    }

    /// Returns the names of a type that differ between an older view of the same client and this one. A name that
    /// changed below an upper layer which says something of it is not among them.
    pub fn changed_since(&self, old: &View, resource_type: ResourceType) -> BTreeSet<ResourceName> {
        let mut names = self.base.changed_since(&old.base, resource_type);
        names.append(&mut self.scope.changed_since(&old.scope, resource_type));
        names.append(&mut self.sidecar.changed_since(&old.sidecar, resource_type));
        names.retain(|name| self.version(resource_type, name) != old.version(resource_type, name));
        names
    }

    /// Returns whether any resource differs between an older view of the same client and this one.
    pub fn differs_from(&self, old: &View) -> bool {
        ResourceType::ALL.into_iter().any(|resource_type| !self.changed_since(old, resource_type).is_empty())
    }
}

/// Returns the sums of the resources of lower layers that an upper layer replaces or hides.
fn sums_below(resource_type: ResourceType, upper: &Snapshot, lower: &[&Snapshot]) -> Sums {
    if lower.iter().all(|layer| layer.is_silent(resource_type)) {
        return Sums::default();
    }
    let names = upper.names(resource_type);
    let replaced = names.filter_map(|name| {
        let entry = lower.iter().find_map(|layer| layer.entry(resource_type, name));
        entry.and_then(Entry::resource)
    });
    replaced.fold(Sums::default(), |sums, resource| sums.plus(resource.sums()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ResourceWrite;

    const TYPE: ResourceType = ResourceType::Cluster;

    fn put(name: &str, body: &str) -> ResourceWrite {
        ResourceWrite::Put(TYPE, EncodedResource::new(TYPE, name.into(), body.as_bytes()))
    }

    fn hide(name: &str) -> ResourceWrite {
        ResourceWrite::Hide(TYPE, name.into())
    }

    fn layer(lineage: u64, writes: Vec<ResourceWrite>) -> Arc<Snapshot> {
        Arc::new(Snapshot::new(lineage).apply(writes).unwrap_or_default())
    }

    /// The view that the documentation of the module draws.
    fn view() -> View {
        View {
            base: layer(1, vec![put("a", "1"), put("b", "1"), put("c", "1")]),
            scope: layer(2, vec![put("a", "2"), hide("b")]),
            sidecar: layer(3, vec![put("d", "1")]),
            ..View::default()
        }
    }

    fn bodies(resources: impl Iterator<Item = EncodedResource>) -> Vec<String> {
        let mut texts: Vec<String> = resources
            .map(|resource| format!("{}={}", resource.name, String::from_utf8_lossy(&resource.body())))
            .collect();
        texts.sort();
        texts
    }

    #[test]
    fn the_uppermost_layer_that_says_something_counts() {
        let view = view();
        assert_eq!(bodies(view.iter(TYPE).cloned()), ["a=2", "c=1", "d=1"]);
        assert!(view.get(TYPE, "b").is_none() && view.get(TYPE, "x").is_none());
    }

    #[test]
    fn lists_and_sums_are_those_of_the_resources_one_by_one() {
        let view = view();
        assert_eq!(bodies(view.list(TYPE).iter().cloned()), bodies(view.iter(TYPE).cloned()));
        let versions: Vec<(String, u64)> =
            view.iter(TYPE).map(|resource| (resource.name.to_string(), resource.version.number())).collect();
        let versions = versions.iter().map(|(name, version)| (name.as_str(), *version));
        assert_eq!(view.sums(TYPE), Sums::of_resources(versions));
        let (base, scope) = (&view.base, View { sidecar: Arc::default(), scope: Arc::default(), ..view.clone() });
        let shared = scope.list(TYPE).into_chunks().next().unwrap();
        assert!(
            Arc::ptr_eq(&shared, &base.resource_map(TYPE).chunks()[0]),
            "chunks of a layer that is alone are shared"
        );
    }

    #[test]
    fn a_change_below_an_upper_layer_is_no_change() {
        let old = view();
        let base = old.base.apply(vec![put("a", "9"), put("b", "9")]).unwrap();
        let new = View { base: Arc::new(base), ..old.clone() };
        assert!(!new.differs_from(&old));
        let scope = old.scope.apply(vec![ResourceWrite::Remove(TYPE, "b".into())]).unwrap();
        let shown = View { scope: Arc::new(scope), ..new };
        let names: Vec<String> = shown.changed_since(&old, TYPE).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["b"]);
    }
}
