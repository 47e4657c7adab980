//! TLS and SASL: one broker with two listeners, every way in, and what is said to those who are kept out.

mod tokens;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use heliometer::{
    domain::Secret,
    event_log::{EventLog as _, KafkaLog, ReadLimits, Topic},
    settings::{EventLogSettings, SaslMechanism, SecurityProtocol},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use self::tokens::TokenServer;
use crate::{
    broker::{Broker, Turn, free_ports},
    log::{read_all, record},
};

const USER: &str = "heliometer";
const PASSWORD: &str = "right-hunter2";
const WRONG_PASSWORD: &str = "wrong-hunter2";
/// Of the tokens that the token server issues, as short as leaves time to use them.
const TOKEN_LIFE: Duration = Duration::from_secs(8);

/// A broker that lets in whom it should.
struct Secured {
    broker: Broker,
    tls_port: u16,
    sasl_port: u16,
    tokens: TokenServer,
}

impl Secured {
    async fn start() -> Self {
        let broker = Broker::that_is_away(Turn::wait().await);
        // Behind the broker's own two.
        let ports = free_ports(4);
        let (tls_port, sasl_port) = (ports.start + 2, ports.start + 3);
        let directory = broker.directory();
        write_certificates(directory);
        let tokens = TokenServer::start(USER, PASSWORD, TOKEN_LIFE).await;
        fs::write(directory.join("jwks.json"), tokens.key_set()).expect("writes");
        write_configuration(directory, broker.port(), tls_port, sasl_port);
        broker.start();
        Self { broker, tls_port, sasl_port, tokens }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.broker.directory().join(name)
    }

    /// With topics and groups of its own.
    fn settings(&self, prefix: &str, port: u16, security_protocol: SecurityProtocol) -> EventLogSettings {
        EventLogSettings {
            brokers: vec![format!("127.0.0.1:{port}")],
            topic_prefix: format!("{prefix}."),
            partitions: 1,
            security_protocol,
            ssl_ca_file: Some(self.file("ca.pem")),
            ..EventLogSettings::default()
        }
    }

    /// The broker wants a certificate of the client too, which librdkafka's own properties name.
    fn with_certificate(&self) -> EventLogSettings {
        let path = |name: &str| Secret::new(self.file(name).to_str().expect("is UTF-8"));
        EventLogSettings {
            properties: BTreeMap::from([
                ("ssl.certificate.location".to_owned(), path("client.pem")),
                ("ssl.key.location".to_owned(), path("client.key")),
            ]),
            ..self.settings("ssl", self.tls_port, SecurityProtocol::Ssl)
        }
    }

    fn with_password(&self, prefix: &str, mechanism: SaslMechanism, password: &str) -> EventLogSettings {
        EventLogSettings {
            sasl_mechanism: Some(mechanism),
            sasl_username: Some(USER.to_owned()),
            sasl_password: Some(Secret::new(password)),
            ..self.settings(prefix, self.sasl_port, SecurityProtocol::SaslSsl)
        }
    }

    /// The scope tells the token server what kind of token to issue.
    fn with_token(&self, prefix: &str, scope: &str, client_secret: &str) -> EventLogSettings {
        EventLogSettings {
            sasl_mechanism: Some(SaslMechanism::OauthBearer),
            oauth_token_url: Some(self.tokens.url()),
            oauth_client_id: Some(USER.to_owned()),
            oauth_client_secret: Some(Secret::new(client_secret)),
            oauth_scope: Some(scope.to_owned()),
            ..self.settings(prefix, self.sasl_port, SecurityProtocol::SaslSsl)
        }
    }
}

/// `ca.pem` and what it has signed, and `other-ca.pem`, which has signed nothing.
fn write_certificates(directory: &Path) {
    let authority = |name: &str| {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        (pem, Issuer::new(parameters, key))
    };
    let (ca_pem, ca) = authority("Test CA");
    let signed = |name: &str| {
        let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        (parameters.signed_by(&key, &ca).expect("a certificate").pem(), key.serialize_pem())
    };
    let (server_pem, server_key) = signed("broker");
    let (client_pem, client_key) = signed(USER);
    let files = [
        ("ca.pem", ca_pem),
        ("other-ca.pem", authority("Other CA").0),
        // Kafka wants both in one.
        ("server.pem", server_key + &server_pem),
        ("client.pem", client_pem),
        ("client.key", client_key),
    ];
    for (name, text) in files {
        fs::write(directory.join(name), text).expect("writes");
    }
}

fn write_configuration(directory: &Path, port: u16, tls_port: u16, sasl_port: u16) {
    let (controller_port, path) = (port + 1, directory.display());
    let host = "127.0.0.1";
    let modules = "org.apache.kafka.common.security";
    let sasl = "listener.name.sasl_ssl";
    // Connections end with their tokens, unless these are renewed. Kafka 4.1.0 by itself would choose a validator that
    // takes an expired token.
    let properties = format!(
        r#"
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port},\
SSL://{host}:{tls_port},SASL_SSL://{host}:{sasl_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={path}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={path}/ca.pem
listener.name.ssl.ssl.client.auth=required
{sasl}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
{sasl}.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";
{sasl}.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
{sasl}.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
{sasl}.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required;
{sasl}.oauthbearer.sasl.server.callback.handler.class={modules}.oauthbearer.OAuthBearerValidatorCallbackHandler
{sasl}.oauthbearer.connections.max.reauth.ms=60000
sasl.oauthbearer.jwks.endpoint.url=file://{path}/jwks.json
sasl.oauthbearer.expected.audience=kafka
sasl.oauthbearer.clock.skew.seconds=0
sasl.oauthbearer.jwt.validator.class={modules}.oauthbearer.BrokerJwtValidator
"#
    );
    let scram = |mechanism: &str| format!("--add-scram\n{mechanism}=[name={USER},password={PASSWORD}]\n");
    let java = format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{path}/jwks.json\n");
    fs::write(directory.join("extra.properties"), properties).expect("writes");
    fs::write(directory.join("format.arguments"), scram("SCRAM-SHA-256") + &scram("SCRAM-SHA-512")).expect("writes");
    fs::write(directory.join("java.arguments"), java).expect("writes");
}

fn connect(settings: &EventLogSettings) -> KafkaLog {
    KafkaLog::connect(settings, &prometheus::Registry::new()).expect("the settings are right")
}

/// Every kind of client gets in: those that make topics, write, join a group and read one record.
async fn goes_through(way: &str, settings: &EventLogSettings) {
    let log = connect(settings);
    let position = log.append(Topic::Webhooks, record(way)).await.unwrap_or_else(|error| panic!("{way}: {error}"));
    let limits = ReadLimits { max_records: 100, max_bytes: 1 << 20 };
    let mut subscription = log.subscribe(Topic::Webhooks, "group", limits).await.expect(way);
    assert!(read_all(&mut *subscription, 1).await.contains(way.as_bytes()), "{way}");
    assert_eq!(log.read(position).await.expect(way).expect("is there").key, way, "{way}");
    drop(subscription);
    log.close().await;
}

/// Says so in time, with what to do, and without the credential.
async fn is_kept_out(why: &str, settings: &EventLogSettings, expected: &[&str]) {
    let started = Instant::now();
    let log = connect(settings);
    let error = log.append(Topic::Webhooks, record("key")).await.expect_err(why).to_string();
    // An append may take `delivery_timeout_ms`.
    assert!(started.elapsed() < Duration::from_secs(8), "{why}: after {:?}: {error}", started.elapsed());
    for expected in expected {
        assert!(error.contains(expected), "{why}: {error}");
    }
    assert!(!error.contains("hunter2"), "{why}: {error}");
    log.close().await;
}

/// Writing and reading go on while tokens end and connections with them.
async fn outlives_its_tokens(secured: &Secured) {
    const RECORDS: usize = 100;
    let issued_before = secured.tokens.issued();
    let log = connect(&secured.with_token("renewed", "kafka", PASSWORD));
    let limits = ReadLimits { max_records: 100, max_bytes: 1 << 20 };
    let mut subscription = log.subscribe(Topic::Webhooks, "group", limits).await.expect("subscribes");
    let reader = tokio::spawn(async move { read_all(&mut *subscription, RECORDS).await });
    for number in 0..RECORDS {
        log.append(Topic::Webhooks, record(&format!("{number}"))).await.expect("the token is renewed in time");
        tokio::time::sleep(TOKEN_LIFE * 3 / u32::try_from(RECORDS).expect("fits")).await;
    }
    assert_eq!(reader.await.expect("reads on").len(), RECORDS);
    log.close().await;
    let issued = secured.tokens.issued() - issued_before;
    // One for all clients of the log, renewed after three quarters of its life.
    assert!((4..=8).contains(&issued), "{issued} tokens were issued");
}

/// Everything that is logged, by us and by librdkafka.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn start() -> Self {
        let logged = Self::default();
        let writer = logged.clone();
        tracing_subscriber::fmt()
            .with_env_filter("heliometer=trace,librdkafka=trace,rdkafka=trace")
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .init();
        logged
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_in_works_and_whoever_is_kept_out_is_told_why() {
    let logged = Logged::start();
    let secured = Secured::start().await;

    goes_through("ssl", &secured.with_certificate()).await;
    let mechanisms = [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];
    for mechanism in mechanisms {
        goes_through(mechanism.as_str(), &secured.with_password(mechanism.as_str(), mechanism, PASSWORD)).await;
    }
    goes_through("token", &secured.with_token("token", "kafka", PASSWORD)).await;
    outlives_its_tokens(&secured).await;

    for mechanism in mechanisms {
        let settings = secured.with_password("refused", mechanism, WRONG_PASSWORD);
        is_kept_out(mechanism.as_str(), &settings, &["uthentication failed", "check event_log.sasl_mechanism"]).await;
    }
    let other_ca = |settings| EventLogSettings { ssl_ca_file: Some(secured.file("other-ca.pem")), ..settings };
    let expected = ["certificate verify failed", "check event_log.ssl_ca_file"];
    is_kept_out("another CA", &other_ca(secured.with_certificate()), &expected).await;
    let without_tls = secured.settings("refused", secured.sasl_port, SecurityProtocol::Plaintext);
    is_kept_out("no TLS", &without_tls, &["event_log.security_protocol"]).await;
    for (scope, why) in [("expired", "an old token"), ("forged", "a token of somebody else")] {
        let expected = ["uthentication", "what the brokers expect of a token"];
        is_kept_out(why, &secured.with_token("refused", scope, PASSWORD), &expected).await;
    }
    let expected = ["the token server answered 401 invalid_client", "oauth_client_id and oauth_client_secret"];
    is_kept_out("a wrong secret", &secured.with_token("refused", "kafka", WRONG_PASSWORD), &expected).await;

    let text = logged.text();
    assert!(text.contains("Kafka cannot be used yet"), "nothing was logged");
    for line in text.lines() {
        // The beginning of every signed token.
        assert!(!line.contains("hunter2") && !line.contains("eyJ"), "a credential is in the log: {line}");
    }
}
