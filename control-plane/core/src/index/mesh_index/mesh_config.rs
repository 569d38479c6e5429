//! The mesh config, and the objects whose meaning depends on it.

use std::sync::Arc;

use rutter_api::config::kubernetes::MeshConfig;
use rutter_api::{Config, ConfigKey, Kind};

use super::{MeshIndex, Progress, Replacement};
use crate::model::{MeshConfigDifference, objects_of_ingress, with_default_export};

/// The name of the ConfigMap with the mesh config.
const MESH_CONFIG: &str = "istio";

impl MeshIndex {
    /// Takes over what the mesh config in the root namespace says now.
    pub(super) fn read_mesh_config(&mut self, progress: &mut Progress) {
        let key = ConfigKey::new(Kind::ConfigMap, &self.settings.root_namespace, MESH_CONFIG);
        let config = self.objects.get(&key).cloned();
        let new = config.as_ref().and_then(|config| config.spec.as_mesh_config());
        let difference = MeshConfigDifference::between(self.mesh(), new);
        if difference.is_nothing() {
            return;
        }
        let delta = &mut progress.delta;
        self.mesh_defaults.take_over(new);
        delta.locality_needs |= self.localities.replace_default(self.mesh_defaults.localities.as_deref());
        delta.mesh_defaults |= difference.hosts;
        delta.capture |= difference.capture;
        let before = std::mem::replace(&mut self.mesh_config, config);
        if difference.objects {
            let before = before.as_ref().and_then(|config| config.spec.as_mesh_config()).cloned();
            self.take_again(&before.unwrap_or_default(), progress);
        }
    }

    /// Takes the objects again that mean something else than under another mesh config.
    fn take_again(&mut self, before: &MeshConfig, progress: &mut Progress) {
        let written: Vec<Arc<Config>> = self.configs().cloned().collect();
        for written in written {
            let key = &written.key;
            match key.kind {
                Kind::Service | Kind::ServiceEntry | Kind::VirtualService | Kind::DestinationRule => {
                    let old = self.taken(key).cloned();
                    self.without_export.remove(key);
                    let new = self.with_export(&written);
                    if old.as_ref() != Some(&new) {
                        self.replace(key, &Replacement { old: old.as_ref(), new: Some(&new) }, progress);
                    }
                }
                Kind::Ingress => {
                    let old = objects_of_ingress(&written, before);
                    self.replace_objects_of_ingress(&old, Some(&written), progress);
                }
                Kind::Namespace
                | Kind::ConfigMap
                | Kind::Secret
                | Kind::EndpointSlice
                | Kind::Pod
                | Kind::WorkloadEntry
                | Kind::WorkloadGroup
                | Kind::Gateway
                | Kind::Sidecar => {}
            }
        }
    }

    /// Returns an object as it is taken: with the `exportTo` of the mesh config if it has none.
    pub(super) fn with_export(&mut self, written: &Arc<Config>) -> Arc<Config> {
        match self.mesh().and_then(|mesh| with_default_export(written, mesh)) {
            Some(exported) => {
                self.without_export.insert(written.key.clone(), written.clone());
                Arc::new(exported)
            }
            None => written.clone(),
        }
    }

    /// Takes an Ingress over, and with it the objects that it means.
    pub(super) fn replace_ingress(&mut self, replacement: &Replacement<'_>, progress: &mut Progress) {
        let mesh = self.mesh().cloned().unwrap_or_default();
        let old = replacement.old.map(|config| objects_of_ingress(config, &mesh)).unwrap_or_default();
        self.replace_objects_of_ingress(&old, replacement.new, progress);
    }

    fn replace_objects_of_ingress(
        &mut self,
        old: &[Arc<Config>],
        ingress: Option<&Arc<Config>>,
        progress: &mut Progress,
    ) {
        let mesh = self.mesh().cloned().unwrap_or_default();
        let new = ingress.map(|config| objects_of_ingress(config, &mesh)).unwrap_or_default();
        for gone in old.iter().filter(|gone| !new.iter().any(|object| object.key == gone.key)) {
            self.derived.remove(&gone.key);
            self.replace_derived(&gone.key, None, progress);
        }
        for object in new {
            let exported = with_default_export(&object, &mesh).map(Arc::new);
            let object = exported.unwrap_or(object);
            self.derived.insert(object.key.clone());
            self.replace_derived(&object.key, Some(&object), progress);
        }
    }

    fn replace_derived(&mut self, key: &ConfigKey, new: Option<&Arc<Config>>, progress: &mut Progress) {
        let old = self.taken(key).cloned();
        if old.as_ref() != new {
            self.replace(key, &Replacement { old: old.as_ref(), new }, progress);
        }
    }
}
