//! How the requests of a client are divided among the places where endpoints are: Istio's `localityLbSetting`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use rutter_api::config::istio::{
    DestinationRule, LocalityDistribution, LocalityFailover, LocalityLbSetting, OutlierDetection, PortTrafficPolicy,
    TrafficPolicy,
};
use rutter_api::config::kubernetes::TrafficDistribution;
use rutter_api::node::Locality;
use rutter_api::{Labels, SidecarNode};

use super::endpoint::{Endpoint, NODE_LABEL};
use super::policy::Policy;
use super::service::Service;

/// The labels that the locality of a workload stands for.
pub(crate) const LOCALITY_LABELS: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// The priorities that the locality alone can give: from the same sub-zone to another region that does not take over.
const LOCALITY_PRIORITIES: u32 = 5;

/// What of a client decides how near endpoints are. Clients of which it is the same can see the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClientLocality {
    /// Where the client is.
    pub locality: Locality,
    /// Those of its labels that some rule asks for.
    pub labels: Labels,
}

impl ClientLocality {
    /// Returns whether an endpoint is on the node of the client. Where either is not known, they are not together.
    pub fn is_on_node_of(&self, endpoint: &Endpoint) -> bool {
        let node = self.labels.get(NODE_LABEL).unwrap_or_default();
        !node.is_empty() && endpoint.labels.get(NODE_LABEL) == Some(node)
    }
}

/// What rules have to know of clients to divide their requests among localities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalityNeeds {
    /// Whether the locality matters.
    pub is_locality_needed: bool,
    /// The labels that matter.
    pub label_keys: BTreeSet<String>,
    /// Whether localities have shares, so that one matters even if it is the only one.
    pub has_shares: bool,
}

impl LocalityNeeds {
    /// Returns what is needed of a client. It is the same for all clients if nothing is.
    pub fn of_client(&self, node: &SidecarNode) -> ClientLocality {
        if !self.is_locality_needed {
            return ClientLocality::default();
        }
        let label = |key: &String| match node.labels.get(key) {
            None if key == NODE_LABEL => Some(&*node.node_name).filter(|name| !name.is_empty()),
            label => label,
        };
        let labels = self.label_keys.iter().filter_map(|key| Some((key.clone(), label(key)?.to_owned())));
        ClientLocality { locality: node.locality.clone(), labels: labels.collect() }
    }

    /// Adds what is needed for the endpoints of a service by itself.
    pub fn add_service(&mut self, service: &Service) {
        if service.endpoint_use.is_node_local {
            self.is_locality_needed = true;
            self.label_keys.insert(NODE_LABEL.to_owned());
        }
        self.add(&LocalityPlan::of_service(service));
    }

    /// Adds what is needed for services of which nothing else says how near their endpoints should be.
    pub fn add_default(&mut self, setting: &LocalityLbSetting) {
        // Outlier detection may be anywhere.
        self.add(&LocalityPlan::new(Some(setting), Some(&OutlierDetection::default())));
    }

    fn add(&mut self, plan: &LocalityPlan<'_>) {
        match plan {
            LocalityPlan::Alike => {}
            LocalityPlan::Shares(_) => {
                self.is_locality_needed = true;
                self.has_shares = true;
            }
            LocalityPlan::Priorities { labels, failover: _ } => {
                self.is_locality_needed = true;
                let keys = labels.iter().map(|label| key_of(label));
                self.label_keys.extend(keys.filter(|key| !LOCALITY_LABELS.contains(key)).map(str::to_owned));
            }
        }
    }
}

/// How requests to some endpoints are divided among localities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LocalityPlan<'a> {
    /// Localities do not matter.
    Alike,
    /// Localities have shares, by the locality of the client.
    Shares(&'a [LocalityDistribution]),
    /// The nearest healthy endpoints are used.
    Priorities {
        /// The labels of which endpoints that have more in common with the client come first.
        labels: &'a [Cow<'static, str>],
        /// The regions that take over.
        failover: &'a [LocalityFailover],
    },
}

impl<'a> LocalityPlan<'a> {
    /// Returns the plan of a service and of a policy for it, which counts more. Nearness counts only with outlier detection, without which nobody knows that an
    /// endpoint is unhealthy.
    pub fn of_policy(policy: &Policy<'a>, service: &Service) -> Self {
        let setting = policy.load_balancer.and_then(|balancer| balancer.locality_lb_setting.as_deref());
        let of_service = Self::of_service(service);
        if setting.is_some() || of_service == Self::Alike {
            return Self::new(setting.or(policy.locality_default), policy.outlier_detection);
        }
        of_service
    }

    /// Returns what a service itself says.
    fn of_service(service: &Service) -> Self {
        const ZONE: &[Cow<'static, str>] = &[Cow::Borrowed(LOCALITY_LABELS[0]), Cow::Borrowed(LOCALITY_LABELS[1])];
        const NODE: &[Cow<'static, str>] =
            &[Cow::Borrowed(LOCALITY_LABELS[0]), Cow::Borrowed(LOCALITY_LABELS[1]), Cow::Borrowed(NODE_LABEL)];
        match service.endpoint_use.distribution {
            TrafficDistribution::Alike => Self::Alike,
            TrafficDistribution::SameZone => Self::Priorities { labels: ZONE, failover: &[] },
            TrafficDistribution::SameNode => Self::Priorities { labels: NODE, failover: &[] },
        }
    }

    fn new(setting: Option<&'a LocalityLbSetting>, outlier_detection: Option<&OutlierDetection>) -> Self {
        match setting {
            Some(LocalityLbSetting { enabled: Some(false), .. }) => Self::Alike,
            Some(setting) if !setting.distribute.is_empty() => Self::Shares(&setting.distribute),
            _ if outlier_detection.is_none() => Self::Alike,
            Some(setting) => Self::Priorities { labels: &setting.failover_priority, failover: &setting.failover },
            None => Self::Priorities { labels: &[], failover: &[] },
        }
    }

    /// Returns how much an endpoint has not in common with a client, of the labels that count. 0 is best.
    pub fn label_rank(&self, endpoint: &Endpoint, client: &ClientLocality) -> u32 {
        let Self::Priorities { labels, .. } = self else { return 0 };
        let [region, zone, _] = &*endpoint.locality;
        let is_region_unknown = region.is_empty() && !zone.is_empty();
        let is_common = |label: &&Cow<'static, str>| {
            let key = key_of(label);
            if key == LOCALITY_LABELS[0] && is_region_unknown {
                return true;
            }
            let of_client = || labelled(&client.locality, &client.labels, key);
            let want = label.split_once('=').map_or_else(of_client, |(_, value)| value);
            labelled(&endpoint.locality, &endpoint.labels, key) == want
        };
        let in_common = labels.iter().take_while(is_common).count();
        u32::try_from(labels.len() - in_common).unwrap_or(u32::MAX)
    }

    /// Returns the priority of a locality for a client, among endpoints of one rank. They are not consecutive.
    pub fn priority(&self, rank: u32, locality: &Locality, client: &ClientLocality) -> u32 {
        match self {
            Self::Alike | Self::Shares(_) => 0,
            // By labels alone, the locality counts only if some region takes over.
            Self::Priorities { labels, failover } if !labels.is_empty() && failover.is_empty() => rank,
            Self::Priorities { labels: _, failover } => {
                rank * LOCALITY_PRIORITIES + distance(&client.locality, locality, failover)
            }
        }
    }

    /// Returns the share of each locality, in the order of `localities`, which have a weight each. `None` means that the
    /// weights stay as they are; a share of 0 means that the locality is not used.
    pub fn shares(&self, localities: &[(&Locality, u32)], client: &ClientLocality) -> Option<Vec<u32>> {
        let Self::Shares(distribute) = self else { return None };
        let setting = distribute.iter().find(|setting| matches(&setting.from, &client.locality))?;
        let mut shares = vec![0; localities.len()];
        // The region of an endpoint of Kubernetes is not known; it counts as that of the client.
        let region_of = |locality: &Locality| match locality {
            [region, zone, sub_zone] if region.is_empty() && !zone.is_empty() => {
                [client.locality[0].clone(), zone.clone(), sub_zone.clone()]
            }
            known => known.clone(),
        };
        let known: Vec<(Locality, u32)> =
            localities.iter().map(|(locality, weight)| (region_of(locality), *weight)).collect();
        for (pattern, share) in &setting.to {
            let of_pattern = || known.iter().enumerate().filter(|(_, (locality, _))| matches(pattern, locality));
            let total: u64 = of_pattern().map(|(_, (_, weight))| u64::from(*weight)).sum();
            for (at, (_, weight)) in of_pattern() {
                let part = (u64::from(*weight) * u64::from(*share)).div_ceil(total.max(1));
                shares[at] = u32::try_from(part).unwrap_or(u32::MAX);
            }
        }
        // Endpoints of which nothing is said are better than none.
        shares.iter().any(|share| *share > 0).then_some(shares)
    }
}

/// Returns what a rule has to know of clients.
pub fn rule_locality_needs(rule: &DestinationRule) -> LocalityNeeds {
    let mut needs = LocalityNeeds::default();
    let subsets = rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_deref());
    let policies: Vec<&TrafficPolicy> = rule.traffic_policy.as_deref().into_iter().chain(subsets).collect();
    // A setting may meet the outlier detection of another level, so each is taken with every other.
    let detections = policies.iter().flat_map(|policy| {
        let of_ports = policy.port_level_settings.iter().map(|port| port.outlier_detection.as_ref());
        [policy.outlier_detection.as_ref()].into_iter().chain(of_ports)
    });
    let detection = detections.flatten().next();
    needs.add(&LocalityPlan::new(None, detection));
    for TrafficPolicy { load_balancer, port_level_settings, .. } in policies {
        let of_ports = port_level_settings.iter().map(|PortTrafficPolicy { load_balancer, .. }| load_balancer);
        for balancer in [load_balancer].into_iter().chain(of_ports).flatten() {
            needs.add(&LocalityPlan::new(balancer.locality_lb_setting.as_deref(), detection));
        }
    }
    needs
}

fn key_of(label: &str) -> &str {
    label.split('=').next().unwrap_or_default()
}

/// Returns a label of a workload, or the part of its locality that the label stands for. It is empty if there is none.
fn labelled<'a>(locality: &'a Locality, labels: &'a Labels, key: &str) -> &'a str {
    match LOCALITY_LABELS.iter().position(|label| *label == key) {
        Some(part) => &locality[part],
        None => labels.get(key).unwrap_or_default(),
    }
}

/// Returns whether a locality is in one that is written `region/zone/sub-zone`, later parts of which may be missing or `*`.
fn matches(pattern: &str, locality: &Locality) -> bool {
    pattern.split('/').zip(locality).all(|(pattern, part)| pattern == "*" || *pattern == **part)
}

/// Returns how far a locality is from a client: 0 for the same sub-zone, 1 for the zone, 2 for the region, 3 for another
/// region, and 4 for another one than that which takes over. The zone of an endpoint in Kubernetes is known without its
/// region; it counts as that of the client if the zone is the same.
fn distance(client: &Locality, locality: &Locality, failover: &[LocalityFailover]) -> u32 {
    let [region, zone, sub_zone] = locality;
    let is_region_unknown = region.is_empty() && !zone.is_empty();
    let has_zone = *zone == client[1];
    if *region == client[0] || is_region_unknown && has_zone {
        return match (has_zone, *sub_zone == client[2]) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => 2,
        };
    }
    let takes_over = failover.iter().find(|failover| *failover.from == *client[0]);
    if takes_over.is_none_or(|failover| *failover.to == **region) { 3 } else { 4 }
}

/// Puts priorities in the place of others, so that they begin at 0 and none is left out.
pub fn consecutive(priorities: &[u32]) -> BTreeMap<u32, u32> {
    let distinct: BTreeSet<u32> = priorities.iter().copied().collect();
    distinct.into_iter().zip(0..).collect()
}

#[cfg(test)]
mod tests {
    use rutter_api::node::locality_of_text;

    use super::*;
    use crate::testing::config;

    fn rule(policy: &str) -> DestinationRule {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\n\
             spec: {{host: a, trafficPolicy: {{{policy}}}}}"
        );
        config(&text).spec.as_destination_rule().unwrap().clone()
    }

    fn service() -> Service {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}";
        crate::model::services_of(&config(text), "x").remove(0)
    }

    fn client(locality: &str) -> ClientLocality {
        ClientLocality { locality: locality_of_text(locality), labels: Labels::default() }
    }

    const DETECTION: &str = "outlierDetection: {}";

    #[test]
    fn nearness_counts_only_where_somebody_notices_that_endpoints_fail() {
        let needs = |policy: &str| rule_locality_needs(&rule(policy)).is_locality_needed;
        assert!(!needs("loadBalancer: {simple: RANDOM}") && needs(DETECTION));
        assert!(!needs("loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}"));
        assert!(needs("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 100}}]}}"));
        let keys = rule_locality_needs(&rule(
            "outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [rack, version=v1]}}",
        ));
        assert_eq!(keys.label_keys, ["rack", "version"].map(str::to_owned).into());
    }

    #[test]
    fn the_nearer_the_lower_and_a_region_that_takes_over_comes_before_others() {
        let failover = "loadBalancer: {localityLbSetting: {failover: [{from: eu, to: us}]}}";
        let spec = rule(&format!("{DETECTION}, {failover}"));
        let policy = Policy::of_rule(Some(&spec), 80, None);
        let plan = LocalityPlan::of_policy(&policy, &service());
        let priority = |locality: &str| plan.priority(0, &locality_of_text(locality), &client("eu/z1/s1"));
        let places = ["eu/z1/s1", "eu/z1/s2", "eu/z2/s1", "us/z1/s1", "asia/z1/s1"];
        assert_eq!(places.map(priority), [0, 1, 2, 3, 4]);
        // The zone of an endpoint of Kubernetes is known without its region.
        assert_eq!(["/z1/s1", "/z1", "/z9"].map(priority), [0, 1, 4]);
    }

    #[test]
    fn endpoints_come_by_the_labels_that_they_have_in_common_with_the_client() {
        let setting =
            "loadBalancer: {localityLbSetting: {failoverPriority: [topology.kubernetes.io/region, rack, version=v1]}}";
        let spec = rule(&format!("{DETECTION}, {setting}"));
        let policy = Policy::of_rule(Some(&spec), 80, None);
        let plan = LocalityPlan::of_policy(&policy, &service());
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let client = ClientLocality { labels: labels(&[("rack", "r1")]), ..client("eu") };
        let rank = |locality: &str, pairs: &[(&str, &str)]| {
            let locality = std::sync::Arc::new(locality_of_text(locality));
            let (address, ports) = ("10.0.0.1".into(), Vec::new().into());
            let endpoint = Endpoint { locality, address, ports, labels: labels(pairs), weight: 1 };
            plan.label_rank(&endpoint, &client)
        };
        assert_eq!(rank("eu", &[("rack", "r1"), ("version", "v1")]), 0);
        assert_eq!(rank("eu", &[("rack", "r1"), ("version", "v2")]), 1);
        assert_eq!(rank("eu", &[("version", "v1")]), 2, "what comes after a difference does not count");
        assert_eq!(rank("us", &[("rack", "r1"), ("version", "v1")]), 3);
        assert_eq!(plan.priority(2, &locality_of_text("us"), &client), 2, "the locality does not count beside labels");
    }

    #[test]
    fn shares_are_divided_among_the_localities_of_a_pattern_by_their_weights() {
        let setting = "loadBalancer: {localityLbSetting: {distribute: [{from: eu/z1, to: {eu: 80, us/*: 20}}]}}";
        let spec = rule(setting);
        let policy = Policy::of_rule(Some(&spec), 80, None);
        let plan = LocalityPlan::of_policy(&policy, &service());
        let localities = ["asia", "eu/z1", "eu/z2", "us/z1"].map(locality_of_text);
        let weights: Vec<(&Locality, u32)> = localities.iter().zip([1, 3, 1, 5]).collect();
        assert_eq!(plan.shares(&weights, &client("eu/z1/s")), Some(vec![0, 60, 20, 20]));
        assert_eq!(plan.shares(&weights, &client("eu/z2")), None, "nothing is said of such clients");
        let slices = ["/z1", "/z2"].map(locality_of_text);
        let weights: Vec<(&Locality, u32)> = slices.iter().zip([3, 1]).collect();
        assert_eq!(plan.shares(&weights, &client("eu/z1/s")), Some(vec![60, 20]), "the region is that of the client");
        let elsewhere = ["asia"].map(locality_of_text);
        assert_eq!(plan.shares(&[(&elsewhere[0], 1)], &client("eu/z1/s")), None, "rather there than nowhere");
    }
}
