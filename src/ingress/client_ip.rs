//! Who is asking, also behind proxies.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

use super::error::IngressStartError;

/// The networks whose `X-Forwarded-For` is believed.
pub(super) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// From CIDR networks or single addresses.
    pub(super) fn parse(settings: &[String]) -> Result<Self, IngressStartError> {
        settings
            .iter()
            .map(|text| {
                text.parse::<IpNet>()
                    .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                    .map_err(|_| IngressStartError::TrustedProxy(text.clone()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The right-most hop that is no trusted proxy: everything to its left is the client's own claim.
    pub(super) fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let hops = headers
            .get_all("x-forwarded-for")
            .iter()
            .rev()
            .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','))
            .map(str::trim);
        for hop in hops {
            if !self.trusts(client) {
                break;
            }
            match parse_hop(hop) {
                Some(address) => client = address,
                // What a trusted proxy passes on without an address ends the chain of what is known.
                None => break,
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Some proxies add the port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    hop.parse()
        .or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_hop_outside_the_trusted_networks_is_the_client() {
        let proxies = TrustedProxies::parse(&["10.0.0.0/8".to_owned(), "2001:db8::1".to_owned()]).expect("networks");
        for (peer, forwarded, expected) in [
            ("198.51.100.1", &["203.0.113.9"][..], "198.51.100.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.2.3.4, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.2.3.4", "203.0.113.9,10.9.9.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("2001:db8::1", &["[2001:db8:1::5]:80"], "2001:db8:1::5"),
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            let client = proxies.client_ip(peer.parse().expect("an address"), &headers);
            assert_eq!(client.to_string(), expected, "{peer} {forwarded:?}");
        }
        assert!(TrustedProxies::parse(&["10.0.0.0/33".to_owned()]).is_err());
    }
}
