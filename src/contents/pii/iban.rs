//! International bank account numbers (ISO 13616).

use std::ops::Range;

use super::{before, each_candidate, expression};

/// Length by country, from SWIFT's IBAN registry.
const LENGTHS: &str = "\
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 \
    EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 \
    JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 \
    NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 \
    TL23 TN24 TR26 UA29";

/// In upper case, in one piece or in groups of four with single blanks.
pub(super) fn find(text: &[u8], push: &mut impl FnMut(Range<usize>)) {
    let begin = expression!(r"[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}");
    each_candidate(begin, text, |found| {
        let start = found.start;
        if before(text, start).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        let (number, end) = number(text, start, length_in(&text[start..start + 2])?)?;
        has_check_digits(&number).then(|| {
            push(start..end);
            end
        })
    });
}

fn length_in(country: &[u8]) -> Option<usize> {
    LENGTHS.split(' ').find(|entry| entry.as_bytes().starts_with(country))?.get(2..)?.parse().ok()
}

/// `length` letters and digits from `start` on, and where they end.
fn number(text: &[u8], start: usize, length: usize) -> Option<(Vec<u8>, usize)> {
    let mut number = Vec::with_capacity(length);
    let mut at = start;
    while number.len() < length {
        match text.get(at)? {
            byte @ (b'A'..=b'Z' | b'0'..=b'9') => number.push(*byte),
            b' ' if number.len() % 4 == 0 && text.get(at - 1) != Some(&b' ') => {}
            _ => return None,
        }
        at += 1;
    }
    let is_over = !text.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    is_over.then_some((number, at))
}

/// ISO 7064, MOD 97-10: the first four characters moved to the end, letters as 10 to 35.
fn has_check_digits(number: &[u8]) -> bool {
    let rest = number[4..].iter().chain(&number[..4]).fold(0_u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    rest == 1
}
