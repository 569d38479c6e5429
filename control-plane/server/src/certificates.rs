//! What is wrong with the certificates of a Secret, as far as it can be told without a client.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::InconsistentKeys;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rutter_api::config::kubernetes::Secret;
use rutter_api::{CreationTimestamp, Invalid};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;
use x509_cert::der::asn1::AnyRef;

/// The time before its end in which a certificate is said to end soon.
const SOON: Duration = Duration::from_secs(7 * 24 * 3600);

/// Returns everything because of which no proxy would take a Secret.
pub(crate) fn faults(secret: &Secret) -> Vec<Invalid> {
    let mut faults = Vec::new();
    if let Some((chain, key)) = secret.certificate() {
        faults.extend(check_pair(chain, key));
    }
    if let Some(authorities) = secret.authorities() {
        faults.extend(certificates("ca.crt", authorities).err());
    }
    if let Some(revocations) = secret.revocations() {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(revocations).collect();
        let lists = lists.unwrap_or_default();
        let is_fit = |list: &CertificateRevocationListDer<'_>| <CertificateList>::from_der(list).is_ok();
        if lists.is_empty() || !lists.iter().all(is_fit) || !has_only(revocations, "X509 CRL") {
            faults.push(Invalid::new("data[ca.crl]", "a list of revoked certificates in PEM", "something else"));
        }
    }
    faults
}

/// Returns what an operator should know of a Secret that is taken: a certificate that has ended, ends soon, or has not
/// begun yet.
pub(crate) fn warnings(secret: &Secret, now: SystemTime) -> Vec<String> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let named = [("tls.crt", secret.certificate().map(|(chain, _)| chain)), ("ca.crt", secret.authorities())];
    let of_certificates = named.into_iter().filter_map(|(name, pem)| Some((name, pem?)));
    of_certificates.flat_map(|(name, pem)| warnings_of(name, pem, now)).collect()
}

fn warnings_of(name: &str, pem: &[u8], now: Duration) -> Vec<String> {
    let certificates = certificates(name, pem).unwrap_or_default();
    let read = certificates.iter().filter_map(|der| Certificate::from_der(der).ok());
    let warn = |certificate: Certificate| {
        let validity = certificate.tbs_certificate().validity();
        let (begin, end) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        let subject = certificate.tbs_certificate().subject().to_string();
        let subject = if subject.is_empty() { String::new() } else { format!(" ({subject})") };
        if end < now {
            Some(format!("{name}: the certificate{subject} ended at {}", instant(end)))
        } else if begin > now {
            Some(format!("{name}: the certificate{subject} begins at {}", instant(begin)))
        } else {
            (end < now + SOON).then(|| format!("{name}: the certificate{subject} ends at {}", instant(end)))
        }
    };
    read.filter_map(warn).collect()
}

fn instant(since_epoch: Duration) -> CreationTimestamp {
    CreationTimestamp::from_microseconds(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// Returns the certificates of a text, of which there is at least one.
fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.unwrap_or_default();
    // Nothing else may be among them: what is shown of certificates would show it.
    let is_fit =
        !read.is_empty() && read.iter().all(|der| Certificate::from_der(der).is_ok()) && has_only(pem, "CERTIFICATE");
    let refuse = || Invalid::new(format!("data[{name}]"), "certificates in PEM", "something else");
    is_fit.then_some(read).ok_or_else(refuse)
}

/// Returns whether every section of a text has one label.
fn has_only(pem: &[u8], label: &str) -> bool {
    let text = String::from_utf8_lossy(pem);
    let begin = format!("-----BEGIN {label}-----");
    text.matches("-----BEGIN").count() == text.matches(&*begin).count()
}

fn check_pair(chain: &[u8], key: &[u8]) -> Vec<Invalid> {
    let mut faults = Vec::new();
    let chain = certificates("tls.crt", chain).map_err(|invalid| faults.push(invalid)).ok();
    let key = PrivateKeyDer::from_pem_slice(key).ok().filter(|key| AnyRef::from_der(key.secret_der()).is_ok());
    let Some(key) = key else {
        faults.push(Invalid::new("data[tls.key]", "a private key in PEM, without a password", "something else"));
        return faults;
    };
    // A type of key that is not known here may be known to the proxy.
    let Ok(key) = default_provider().key_provider.load_private_key(key) else { return faults };
    if let Some(chain) = chain
        && let Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) =
            CertifiedKey::new(chain, key).keys_match()
    {
        faults.push(Invalid::new("data[tls.key]", "the key of the certificate in tls.crt", "another"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
    use rutter_api::config::Object;
    use serde_json::json;

    use super::*;

    /// Returns a certificate of January 2020 and its key.
    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "old");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn secret(data: &[(&str, &str)]) -> Secret {
        let data: serde_json::Map<String, serde_json::Value> =
            data.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let metadata = json!({"name": "a"});
        let document = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data});
        let object = Object::from_value(document, "shop").unwrap();
        object.config.spec.as_secret().unwrap().clone()
    }

    fn texts(data: &[(&str, &str)]) -> Vec<String> {
        faults(&secret(data)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pair_that_does_not_fit_and_what_is_no_pem_is_refused() {
        let (certificate, key) = pair();
        let other = KeyPair::generate().unwrap().serialize_pem();
        assert!(texts(&[("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &certificate)]).is_empty());
        let want = ["data[tls.key]: want the key of the certificate in tls.crt, got another"];
        assert_eq!(texts(&[("tls.crt", &certificate), ("tls.key", &other)]), want);
        let want = [
            "data[tls.crt]: want certificates in PEM, got something else",
            "data[tls.key]: want a private key in PEM, without a password, got something else",
            "data[ca.crt]: want certificates in PEM, got something else",
            "data[ca.crl]: want a list of revoked certificates in PEM, got something else",
        ];
        let combined = format!("{certificate}{key}");
        assert_eq!(
            texts(&[("tls.crt", &combined), ("tls.key", &key)]),
            ["data[tls.crt]: want certificates in PEM, got something else"],
            "a key among certificates would be shown with them"
        );
        let nothing = [("tls.crt", &*key), ("tls.key", "x"), ("ca.crt", ""), ("ca.crl", "x")];
        assert_eq!(texts(&nothing), want);
    }

    #[test]
    fn the_dates_of_a_certificate_are_told_if_it_cannot_be_used_or_ends_soon() {
        let at = |year: u64| UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_556_952);
        let (certificate, key) = pair();
        let said = |now| warnings(&secret(&[("tls.crt", &certificate), ("tls.key", &key)]), now);
        assert_eq!(said(at(2026)), ["tls.crt: the certificate (CN=old) ended at 2020-02-01T00:00:00Z"]);
        assert_eq!(said(at(2000)), ["tls.crt: the certificate (CN=old) begins at 2020-01-01T00:00:00Z"]);
        let ends = UNIX_EPOCH + Duration::from_secs(1_580_515_200);
        assert_eq!(said(ends - SOON * 2), Vec::<String>::new());
        assert_eq!(said(ends - SOON / 2), ["tls.crt: the certificate (CN=old) ends at 2020-02-01T00:00:00Z"]);
    }
}
