//! Addresses for services that have none, so that connections to them can be told apart.
//!
//! Every service that wants an address asks for those of a sequence of its own, which follows from its key, until it is the oldest one
//! that asks for an address. So the addresses depend on the objects and their ages alone: they are the same on every replica and
//! after every restart, and a service keeps its address whatever younger ones come. It moves if an older one goes that had an address
//! which this one asked for before its own, or if one comes that is older by its creation timestamp and asks for the same.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use rutter_api::CreationTimestamp;
use twox_hash::XxHash3_128;

use crate::model::{Service, ServiceKey};

/// The first address of the range 240.240.0.0/12, which nobody else uses, and in which Istio's own addresses are.
const FIRST: u32 = 0xF0F0_0000;
/// The number of addresses that are given: the largest prime below that of the range, so that every sequence has all of them.
/// In tests there are so few that services come in each other's way.
const NUMBER: u64 = if cfg!(test) { 7 } else { 1_048_573 };
/// How many addresses a service asks for at most.
const TRIES: u32 = 1000;

/// What decides between two services that ask for one address: the older one has it.
type Claim = (CreationTimestamp, ServiceKey);

/// The addresses, and who asked for them.
#[derive(Debug, Clone)]
pub(super) struct AddressPool {
    /// The number of addresses, a prime.
    number: u64,
    /// The services that asked for an address, each with how many it had asked for before. The first has it.
    claims: HashMap<Ipv4Addr, BTreeMap<Claim, u32>>,
    /// How many addresses a service asked for before that which it has, or before the last.
    tries: HashMap<ServiceKey, u32>,
}

/// A service, and the address that it has now. `None` means that it has none.
pub(super) type Given = (ServiceKey, Option<Ipv4Addr>);

impl Default for AddressPool {
    fn default() -> Self {
        Self { number: NUMBER, claims: HashMap::new(), tries: HashMap::new() }
    }
}

impl AddressPool {
    /// Gives a service an address, and returns what it and others have now.
    pub(super) fn insert(&mut self, service: &Service) -> Vec<Given> {
        let mut given = BTreeMap::new();
        let mut asking = vec![(claim_of(service), 0)];
        while let Some((claim, first_try)) = asking.pop() {
            let mut address = None;
            let limit = TRIES.min(u32::try_from(self.number).unwrap_or(TRIES));
            for tried in first_try..limit {
                let wanted = self.candidate(&claim.1, tried);
                let claims = self.claims.entry(wanted).or_default();
                let holder = claims.first_key_value().map(|(holder, tried)| (holder.clone(), *tried));
                claims.insert(claim.clone(), tried);
                self.tries.insert(claim.1.clone(), tried);
                if holder.as_ref().is_none_or(|(holder, _)| *holder > claim) {
                    asking.extend(holder.map(|(holder, tried)| (holder, tried + 1)));
                    address = Some(wanted);
                    break;
                }
            }
            given.insert(claim.1, address);
        }
        given.into_iter().collect()
    }

    /// Takes the address of a service, and returns what others have now.
    pub(super) fn remove(&mut self, service: &Service) -> Vec<Given> {
        let mut given = Vec::new();
        let (mut claim, mut kept) = (claim_of(service), None);
        loop {
            // Whoever comes to have an address gives up those that it asked for after it.
            let last = match kept {
                None => self.tries.remove(&claim.1),
                Some(kept) => self.tries.insert(claim.1.clone(), kept),
            };
            let Some(last) = last else { return given };
            let mut heir = None;
            for tried in kept.map_or(0, |kept| kept + 1)..=last {
                let address = self.candidate(&claim.1, tried);
                let Some(claims) = self.claims.get_mut(&address) else { continue };
                let had = claims.first_key_value().is_some_and(|(holder, _)| *holder == claim);
                claims.remove(&claim);
                heir = claims.first_key_value().filter(|_| had).map(|(next, tried)| (next.clone(), *tried, address));
                if claims.is_empty() {
                    self.claims.remove(&address);
                }
            }
            let Some((next, tried, address)) = heir else { return given };
            given.push((next.1.clone(), Some(address)));
            (claim, kept) = (next, Some(tried));
        }
    }

    /// Returns the address that a service asks for after it has asked for some others.
    fn candidate(&self, key: &ServiceKey, tried: u32) -> Ipv4Addr {
        let ServiceKey { host, origin } = key;
        let hash = XxHash3_128::oneshot(format!("{}/{}/{host}", origin.namespace, origin.name).as_bytes());
        let part = |shift: u32| u64::try_from((hash >> shift) & u128::from(u32::MAX)).unwrap_or_default();
        let step = 1 + part(32) % (self.number - 1);
        let at = (part(0) + u64::from(tried) * step) % self.number;
        Ipv4Addr::from(FIRST + 1 + u32::try_from(at).unwrap_or_default())
    }
}

fn claim_of(service: &Service) -> Claim {
    (service.created, service.key.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::services_of;
    use crate::testing::config;

    fn service(number: u32, age: i64) -> Service {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{number}}}\n\
             spec: {{hosts: [h{number}.x], resolution: DNS, ports: [{{number: 80, name: http}}]}}"
        );
        let created = CreationTimestamp::from_microseconds(age);
        Service { created, ..services_of(&config(&text), "cluster.local").remove(0) }
    }

    proptest! {
        /// In a pool of few addresses, whatever comes and goes in whatever order.
        #[test]
        fn addresses_follow_from_the_services_and_their_ages(ops in prop::collection::vec((0u32..9, any::<bool>()), 1..40)) {
            let mut pool = AddressPool { number: 11, ..AddressPool::default() };
            let mut there: BTreeMap<Claim, Service> = BTreeMap::new();
            let mut given: HashMap<ServiceKey, Option<Ipv4Addr>> = HashMap::new();
            for (number, comes) in ops {
                // The ages are not in the order of the numbers.
                let service = service(number, i64::from(number * 5 % 9));
                let claim = claim_of(&service);
                if comes && !there.contains_key(&claim) {
                    given.extend(pool.insert(&service));
                    there.insert(claim, service);
                } else if !comes && there.remove(&claim).is_some() {
                    given.remove(&service.key);
                    given.extend(pool.remove(&service));
                }
                let mut taken = HashSet::new();
                for (_, key) in there.keys() {
                    let free = (0..11).map(|tried| pool.candidate(key, tried)).find(|address| taken.insert(*address));
                    prop_assert_eq!(given[key], free, "{}", key.host);
                }
                prop_assert_eq!(given.len(), there.len());
            }
        }
    }

    #[test]
    fn addresses_are_in_the_range_and_each_is_given_once() {
        let mut pool = AddressPool { number: 1_048_573, ..AddressPool::default() };
        let given: Vec<Ipv4Addr> =
            (0..500).flat_map(|number| pool.insert(&service(number, 1))).filter_map(|it| it.1).collect();
        let different: HashSet<&Ipv4Addr> = given.iter().collect();
        assert_eq!((given.len(), different.len()), (500, 500));
        assert!(given.iter().all(|address| address.octets()[0] == 240 && address.octets()[1] >= 240));
        assert_eq!(given[7].to_string(), "240.246.60.89", "the same in every release");
        (0..500).for_each(|number| assert!(pool.remove(&service(number, 1)).is_empty()));
        assert!(pool.claims.is_empty() && pool.tries.is_empty());
    }

    #[test]
    fn what_finds_no_free_address_has_none() {
        let mut pool = AddressPool { number: 2, ..AddressPool::default() };
        let given = (0..3).flat_map(|number| pool.insert(&service(number, i64::from(number))));
        assert_eq!(given.filter(|(_, address)| address.is_some()).count(), 2);
        assert!(pool.remove(&service(2, 2)).is_empty());
        (0..2).for_each(|number| drop(pool.remove(&service(number, i64::from(number)))));
        assert!(pool.claims.is_empty() && pool.tries.is_empty());
    }
}
