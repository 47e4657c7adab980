use super::*;

fn found(text: &str) -> Vec<(PiiKind, &str)> {
    find(text, &PiiKind::ALL).into_iter().map(|finding| (finding.kind, &text[finding.range])).collect()
}

/// Each text with what must be found in it.
fn check(cases: &[(&str, PiiKind, &str)]) {
    for (text, kind, expected) in cases {
        assert_eq!(found(text), [(*kind, *expected)], "{text}");
    }
}

fn nothing_in(cases: &[&str]) {
    for text in cases {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn email_addresses() {
    use PiiKind::Email;
    check(&[
        ("ann@example.com", Email, "ann@example.com"),
        ("Write to Ann.Lee+news@mail.example.co.uk.", Email, "Ann.Lee+news@mail.example.co.uk"),
        ("<bob_1@x-y.de>", Email, "bob_1@x-y.de"),
        ("mailto:o'neil@example.org?subject=x", Email, "o'neil@example.org"),
        ("'ann@example.com'", Email, "ann@example.com"),
        ("https://ann:pw@example.com/x", Email, "pw@example.com"),
        ("é ann@example.com é", Email, "ann@example.com"),
    ]);
    nothing_in(&[
        "@decorator",
        "user@host",
        "package@1.2.3",
        "react@18.0.0-beta.1",
        "icon@2x.png",
        "git@github.com:owner/repository.git",
        "a @ b.com",
        "name@example.c0m",
        "sha@sha256",
        "x@@example.com",
    ]);
}

#[test]
fn phone_numbers() {
    use PiiKind::Phone;
    check(&[
        ("+14155552671", Phone, "+14155552671"),
        ("+1 415 555 2671", Phone, "+1 415 555 2671"),
        ("Tel. +49 (0)30 901820, Berlin", Phone, "+49 (0)30 901820"),
        ("+44 20 7946 0958", Phone, "+44 20 7946 0958"),
        ("(415) 555-2671", Phone, "(415) 555-2671"),
        ("call 415-555-2671.", Phone, "415-555-2671"),
        ("415.555.2671", Phone, "415.555.2671"),
        ("1-415-555-2671", Phone, "1-415-555-2671"),
        ("+1 415 555 2671x12", Phone, "+1 415 555 2671"),
        ("030 12345678", Phone, "030 12345678"),
        ("0151-23456789", Phone, "0151-23456789"),
        ("020 7946 0958", Phone, "020 7946 0958"),
        ("06 12 34 56 78", Phone, "06 12 34 56 78"),
        ("(030) 1234567", Phone, "(030) 1234567"),
    ]);
    nothing_in(&[
        "4155552671",
        "1764086400",
        "1764086400000",
        "2026-11-25 16:37:37",
        "2026-11-25T16:37:37+01:00",
        "25.11.2026",
        "192.168.100.200",
        "10.0.0.1:8080",
        "117.0.5938.132",
        "115-555-2671",
        "415-155-2671",
        "415-555-26710",
        "order 112-1234567-1234567",
        "978-3-16-148410-0",
        "550e8400-e29b-41d4-a716-446655440000",
        "12345678-1234-1234-1234-123456789012",
        "1e+12345678",
        "a+12345678901",
        "QUJD+12345678/xyz==",
        "3.14159265358979",
        "$1,234,567.89",
        "0.00007500000000000001",
        "+123",
        "+12345678901234567890",
        "012-345",
    ]);
}

#[test]
fn card_numbers() {
    use PiiKind::Card;
    check(&[
        ("4111111111111111", Card, "4111111111111111"),
        ("4111 1111 1111 1111", Card, "4111 1111 1111 1111"),
        ("5555-5555-5555-4444", Card, "5555-5555-5555-4444"),
        ("2223003122003222", Card, "2223003122003222"),
        ("378282246310005", Card, "378282246310005"),
        ("3782 822463 10005", Card, "3782 822463 10005"),
        ("30569309025904", Card, "30569309025904"),
        ("6011111111111117", Card, "6011111111111117"),
        ("3530111333300000", Card, "3530111333300000"),
        ("6200000000000005", Card, "6200000000000005"),
        ("4222222222222", Card, "4222222222222"),
        ("card: 4111 1111 1111 1111 123 12/27", Card, "4111 1111 1111 1111"),
        ("12 4111 1111 1111 1111", Card, "4111 1111 1111 1111"),
        ("\"4111111111111111\"", Card, "4111111111111111"),
    ]);
    nothing_in(&[
        "4111111111111112",
        "1764086400000000",
        "1764086400000000000",
        "9111111111111111",
        "4111 1111-1111 1111",
        "41 11 11 11 11 11 11 11",
        "a4111111111111111",
        "4111111111111111f",
        "0.4111111111111111",
        "4111111111111111.25",
        "41111111111111110000000",
        "12345678-4111-1111-1111-111111111111",
        "5105_1051_0510_5100",
    ]);
}

#[test]
fn bank_account_numbers() {
    use PiiKind::Iban;
    check(&[
        ("DE89370400440532013000", Iban, "DE89370400440532013000"),
        ("IBAN: DE89 3704 0044 0532 0130 00 AND MORE", Iban, "DE89 3704 0044 0532 0130 00"),
        ("GB29NWBK60161331926819.", Iban, "GB29NWBK60161331926819"),
        ("FR1420041010050500013M02606", Iban, "FR1420041010050500013M02606"),
        ("NO9386011117947", Iban, "NO9386011117947"),
        ("AB12 DE89 3704 0044 0532 0130 00", Iban, "DE89 3704 0044 0532 0130 00"),
    ]);
    nothing_in(&[
        "DE88370400440532013000",
        "DE8937040044053201300",
        "DE893704004405320130000",
        "XX89370400440532013000",
        "de89370400440532013000",
        "QDE89370400440532013000",
        "SKU DE89 3704",
    ]);
}

#[test]
fn social_security_numbers() {
    use PiiKind::Ssn;
    check(&[
        ("123-45-6789", Ssn, "123-45-6789"),
        ("SSN: 899-12-3456, born", Ssn, "899-12-3456"),
        ("(123-45-6789)", Ssn, "123-45-6789"),
    ]);
    nothing_in(&[
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "123-00-4567",
        "123-45-0000",
        "123456789",
        "1123-45-6789",
        "123-45-67890",
        "123-45-6789-1",
        "2023-45-6789",
        "a123-45-6789",
        "v1.123-45-6789",
    ]);
}

#[test]
fn api_keys() {
    for key in [
        "sk-abcdefghijklmnopqrstuvwxyz012345",
        "sk-proj-Ab_cdefghijklmnop-qrstuvwxyz",
        "sk-ant-api03-abcdefghijklmnopqrst",
        "sk-helicone-abcdefg-hijklmn-opqrstu-vwxyzab",
        "pk-helicone-abcdefg-hijklmn-opqrstu-vwxyzab",
        "sk-or-v1-0123456789abcdef0123456789abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "github_pat_11ABCDEFG0123456789_abcdef",
        "glpat-abcdefghij0123456789",
        "xoxb-1234567890-abcdefghij",
        "AIzaSyA0123456789abcdefghijklmnopqrstuv",
        "hf_abcdefghijklmnopqrstuvwxyz01234567",
        "sk_live_abcdefghijklmnop1234",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabc+/=\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg",
    ] {
        for text in [key.to_owned(), format!("Bearer {key}"), format!("key={key}\"")] {
            assert_eq!(found(&text), [(PiiKind::ApiKey, key)], "{text}");
        }
    }
    nothing_in(&[
        "sk-learn",
        "sk-something-with-a-long-name-and-dashes",
        "task-abcdefghijklmnopqrstuvwxyz",
        "AKIA123",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "eyJhbGciOiJIUzI1NiJ9",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "chatcmpl-A1b2C3d4E5f6G7h8I9j0K1l2M3n4",
        "call_abcdefghijklmnopqrstuvwx",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    ]);
}

#[test]
fn of_what_overlaps_the_first_and_longest_is_taken() {
    let text = "+1 415 555 2671, 4111 1111 1111 1111, ann@example.com and 123-45-6789";
    let kinds: Vec<PiiKind> = found(text).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [PiiKind::Phone, PiiKind::Card, PiiKind::Email, PiiKind::Ssn]);
    assert_eq!(found("sk-ant-4111111111111111aaaa").len(), 1);
}

#[test]
fn only_what_is_asked_for_is_looked_for() {
    let text = "ann@example.com 4111111111111111";
    let findings = find(text, &[PiiKind::Card]);
    assert_eq!(count(&findings).of(PiiKind::Card), 1);
    assert_eq!(count(&findings).of(PiiKind::Email), 0);
}

#[test]
fn random_ids_and_hashes_are_not_found() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    let mut rng = StdRng::seed_from_u64(7);
    let mut text = String::new();
    for _ in 0..20_000 {
        let id: u128 = rng.random();
        let number = f64::from(rng.random::<u32>()) / 1e9;
        text.extend([uuid::Uuid::from_u128(id).to_string(), format!(" {id:x} {number:.12} ")]);
    }
    assert_eq!(found(&text), []);
}

/// Of the worst that each expression can be given, twice as much takes about twice as long. Anything quadratic would take
/// hours here.
#[test]
fn time_is_linear() {
    let started = std::time::Instant::now();
    for unit in ["a", "1", "1 ", "a@", "a.", "+1", "sk-ant-", "\\", "-----BEGIN PRIVATE KEY-----", "DE89", "0123 4567 "]
    {
        let text = unit.repeat(1024 * 1024 / unit.len());
        drop(find(&text, &PiiKind::ALL));
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
}
