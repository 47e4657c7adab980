//! Where a fetch may go: public addresses, and the private networks that were allowed.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};
use wildmatch::WildMatch;

use super::FetchError;

/// Which addresses may be connected to.
#[derive(Clone, Debug)]
pub struct AddressPolicy {
    allowed_private: Vec<IpNet>,
}

/// Which URLs a source's webhooks may name.
#[derive(Clone, Debug, Default)]
pub struct UrlPolicy {
    /// Host names as globs; none allows any.
    hosts: Vec<WildMatch>,
    allow_http: bool,
}

impl UrlPolicy {
    /// Hosts that match one of `hosts` (any when there are none), over TLS unless `allow_http`.
    #[must_use]
    pub fn new(hosts: &[String], allow_http: bool) -> Self {
        Self { hosts: hosts.iter().map(|host| WildMatch::new_case_insensitive(host)).collect(), allow_http }
    }

    /// Scheme, host name, and the address if the URL names one. Host names are judged again by what they resolve to.
    pub(super) fn allows(&self, url: &Url, addresses: &AddressPolicy) -> bool {
        let scheme_allowed = url.scheme() == "https" || (self.allow_http && url.scheme() == "http");
        let name = url.host_str().unwrap_or("");
        let host_allowed = self.hosts.is_empty() || self.hosts.iter().any(|host| host.matches(name));
        scheme_allowed
            && host_allowed
            && match url.host() {
                Some(Host::Domain(_)) => true,
                Some(Host::Ipv4(address)) => addresses.allows(address.into()),
                Some(Host::Ipv6(address)) => addresses.allows(address.into()),
                None => false,
            }
    }
}

/// No address of the host may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("the host leads to an address that is not allowed; see fetch.allow_private_cidrs")]
pub(super) struct AddressRefused;

impl AddressPolicy {
    /// Public addresses, and the networks in `allowed_private`.
    ///
    /// # Errors
    /// [`FetchError::Cidr`] for a text that is not a network.
    pub fn new(allowed_private: &[String]) -> Result<Self, FetchError> {
        let allowed_private = allowed_private
            .iter()
            .map(|text| text.parse().map_err(|_| FetchError::Cidr(text.clone())))
            .collect::<Result<_, _>>()?;
        Ok(Self { allowed_private })
    }

    /// Whether this address may be connected to.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
            v4 @ IpAddr::V4(_) => v4,
        };
        self.allowed_private.iter().any(|network| network.contains(&address)) || is_public(address)
    }
}

/// Not private, loopback, link-local (with cloud metadata), shared, multicast, reserved or a tunnel to such.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            // 2000::/3 is all there is of global unicast; 6to4, Teredo and NAT64 carry IPv4 addresses inside.
            first & 0xE000 == 0x2000
                && first != 0x2002
                && !(first == 0x2001 && (second == 0 || second == 0x0DB8))
                && v6 != Ipv6Addr::UNSPECIFIED
        }
    }
}

/// Resolves names as the system does and drops addresses that are not allowed, so that the connection goes to an
/// address that was checked (a second look-up could answer differently).
pub(super) struct GuardedResolver(Arc<AddressPolicy>);

impl GuardedResolver {
    pub(super) const fn new(policy: Arc<AddressPolicy>) -> Self {
        Self(policy)
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| policy.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(Box::new(AddressRefused) as Box<dyn std::error::Error + Send + Sync>);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_addresses_are_refused() {
        let policy = AddressPolicy::new(&["10.1.0.0/16".to_owned(), "::1/128".to_owned()]).expect("networks");
        for (address, allowed) in [
            ("52.218.1.1", true),
            ("2600:1f14::1", true),
            ("10.1.2.3", true),
            ("10.2.2.3", false),
            ("127.0.0.1", false),
            ("::1", true),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:10.1.2.3", true),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("192.168.1.1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("2002:7f00:1::", false),
            ("64:ff9b::7f00:1", false),
            ("::", false),
        ] {
            assert_eq!(policy.allows(address.parse().expect("an address")), allowed, "{address}");
        }
    }

    #[test]
    fn schemes_hosts_and_address_literals_are_judged_before_connecting() {
        let addresses = AddressPolicy::new(&["127.0.0.0/8".to_owned()]).expect("a network");
        let s3 = ["*.amazonaws.com".to_owned(), "minio.internal".to_owned()];
        for (url, hosts, allow_http, allowed) in [
            ("https://s3.us-west-2.amazonaws.com/x", &[][..], false, true),
            ("http://s3.us-west-2.amazonaws.com/x", &[], false, false),
            ("http://127.0.0.1:9000/x", &[], true, true),
            ("http://2130706433/x", &[], true, true),
            ("http://169.254.169.254/latest", &[], true, false),
            ("https://[::ffff:169.254.169.254]/latest", &[], false, false),
            ("https://[::1]/x", &[], false, false),
            ("file:///etc/passwd", &[], true, false),
            ("ftp://example.com/", &[], true, false),
            ("https://s3.us-west-2.amazonaws.com/x", &s3, false, true),
            ("https://S3.US-WEST-2.AMAZONAWS.COM:444/x", &s3, false, true),
            ("https://minio.internal/x", &s3, false, true),
            ("https://amazonaws.com.example/x", &s3, false, false),
            ("https://user@example.com/s3.amazonaws.com", &s3, false, false),
            ("https://127.0.0.1/x", &s3, false, false),
        ] {
            let policy = UrlPolicy::new(hosts, allow_http);
            assert_eq!(policy.allows(&Url::parse(url).expect("a URL"), &addresses), allowed, "{url} {hosts:?}");
        }
        assert!(matches!(AddressPolicy::new(&["here".to_owned()]), Err(FetchError::Cidr(_))));
    }
}
