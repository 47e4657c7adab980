//! Payment card numbers.

use std::ops::Range;

use super::{before, expression, is_digit_at};

/// Lengths of groups as they are printed (ISO/IEC 7812 allows 8 to 19 digits; networks print 4-4-4-4, 4-4-4-4-3, American
/// Express 4-6-5, Diners Club 4-6-4).
const GROUPINGS: [&[usize]; 5] = [&[4, 4, 4, 4, 3], &[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 1]];

/// One group of 13 to 19 digits, or groups as printed with one kind of separator; then prefix, length and check digit decide.
pub(super) fn find(text: &[u8], push: &mut impl FnMut(Range<usize>)) {
    for run in expression!(r"[0-9](?:[ -]?[0-9]){12,}").find_iter(text) {
        let groups = groups(text, run.range());
        let mut index = 0;
        while index < groups.len() {
            match card_at(text, &groups[index..]) {
                Some(count) => {
                    push(groups[index].start..groups[index + count - 1].end);
                    index += count;
                }
                None => index += 1,
            }
        }
    }
}

fn groups(text: &[u8], run: Range<usize>) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for at in run {
        if text[at].is_ascii_digit() {
            match groups.last_mut() {
                Some(group) if group.end == at => group.end = at + 1,
                _ => groups.push(at..at + 1),
            }
        }
    }
    groups
}

/// How many of the first groups are a card number.
fn card_at(text: &[u8], groups: &[Range<usize>]) -> Option<usize> {
    let first = groups.first()?;
    if before(text, first.start).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte)) {
        return None;
    }
    let grouping = GROUPINGS.into_iter().filter(|grouping| {
        grouping.len() <= groups.len()
            && grouping.iter().zip(groups).all(|(length, group)| group.len() == *length)
            && groups[..grouping.len()].windows(2).all(|pair| text[pair[0].end] == text[first.end])
    });
    let single = (13..=19).contains(&first.len()).then_some(1);
    single.into_iter().chain(grouping.map(<[usize]>::len)).find(|count| {
        let range = first.start..groups[count - 1].end;
        let is_over = match text.get(range.end) {
            Some(b'.') => !is_digit_at(text, range.end + 1),
            Some(byte) => !byte.is_ascii_alphanumeric() && *byte != b'_',
            None => true,
        };
        let digits: Vec<u8> = text[range].iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
        is_over && is_issued(&digits) && has_check_digit(&digits)
    })
}

/// Prefixes and lengths of the networks in use: Visa, Mastercard, American Express, Discover, Diners Club, JCB, `UnionPay`,
/// Maestro.
fn is_issued(digits: &[u8]) -> bool {
    let prefix =
        |length: usize| digits.iter().take(length).fold(0_u32, |prefix, digit| prefix * 10 + u32::from(*digit));
    let (two, three, four) = (prefix(2), prefix(3), prefix(4));
    match digits.len() {
        13 | 16 | 19 if two / 10 == 4 => true,
        16 if (51..=55).contains(&two) || (2221..=2720).contains(&four) => true,
        15 => two == 34 || two == 37,
        14..=19 if (300..=305).contains(&three) || four == 3095 || two == 36 || two == 38 || two == 39 => true,
        16..=19 => {
            four == 6011
                || (644..=649).contains(&three)
                || two == 65
                || two == 62
                || (3528..=3589).contains(&four)
                || matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763)
        }
        _ => false,
    }
}

/// Luhn's formula (ISO/IEC 7812-1, annex B).
fn has_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let digit = u32::from(*digit);
            match (index % 2, digit * 2) {
                (0, _) => digit,
                (_, doubled) if doubled > 9 => doubled - 9,
                (_, doubled) => doubled,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}
