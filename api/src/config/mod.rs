//! Config objects of the kinds that people already write, checked at the door.
//!
//! To add a kind: a variant of [`Kind`], a module with its type, its unsupported fields and its checks, and a variant
//! of [`Spec`]. The compiler then names every place that has to answer for it.

mod checks;
mod decode;
mod field_path;
pub mod istio;
mod kind;
pub mod kubernetes;
mod manifest;
mod object;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
mod type_meta;

pub use kind::{ConfigKey, Kind};
pub use manifest::{Content, Foreign, Manifest, Refused, read_manifests};
pub use object::{APPLY_BYTES_MAX, Config, OBJECT_BYTES_MAX, Object, REVISION_ANNOTATION};
pub use spec::Spec;
pub use type_meta::TypeMeta;

#[cfg(test)]
mod tests;
