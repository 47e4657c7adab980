//! Telephone numbers.

use std::ops::Range;

use super::{before, begins_number, each_candidate, ends_number, expression};

/// E.164 allows 15 digits; fewer than 8 are no international number.
const INTERNATIONAL_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;
/// With the leading 0. Shorter ones look like too much else.
const NATIONAL_DIGITS: std::ops::RangeInclusive<usize> = 10..=12;

/// `+` with digits and separators; the North American plan with separators; a leading 0 with an area code set apart; five
/// pairs as in France. Bare digits are never taken for a number to call.
pub(super) fn find(text: &[u8], push: &mut impl FnMut(Range<usize>)) {
    for found in expression!(r"\+[1-9](?:[ ().\-/]{0,2}[0-9]){6,}").find_iter(text) {
        let start = found.start();
        let is_free = !before(text, start).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+/=_".contains(&byte));
        if is_free && let Some(end) = international_end(text, start, found.end()) {
            push(start..end);
        }
    }
    // https://nationalnanpa.com: area code and exchange begin with 2 to 9.
    let north_american =
        expression!(r"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}");
    each_candidate(north_american, text, |found| {
        let is_number = begins_number(text, found.start) && ends_number(text, found.end);
        is_number.then(|| {
            push(found.clone());
            found.end
        })
    });
    let leading_zero = expression!(
        r"0[1-9](?:[ .][0-9]{2}){4}|(?:\(0[1-9][0-9]{1,4}\)|0[1-9][0-9]{1,4})[ /-]{1,2}[0-9]{3,8}(?:[ -][0-9]{2,8}){0,3}"
    );
    each_candidate(leading_zero, text, |found| {
        let digits = text[found.clone()].iter().filter(|byte| byte.is_ascii_digit()).count();
        let is_number =
            NATIONAL_DIGITS.contains(&digits) && begins_number(text, found.start) && ends_number(text, found.end);
        is_number.then(|| {
            push(found.clone());
            found.end
        })
    });
}

/// The last end of a group of digits at which the number has a possible length, so that what follows in the same form
/// does not hide it.
fn international_end(text: &[u8], start: usize, end: usize) -> Option<usize> {
    let mut digits = 0;
    let mut best = None;
    for at in start + 1..end {
        if text[at].is_ascii_digit() {
            digits += 1;
            let is_group_end = !text.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
                || (text.get(at + 1) == Some(&b'x') && super::is_digit_at(text, at + 2));
            if is_group_end && INTERNATIONAL_DIGITS.contains(&digits) {
                best = Some(at + 1);
            }
            if digits > *INTERNATIONAL_DIGITS.end() {
                break;
            }
        }
    }
    best
}
