//! US social security numbers.

use std::ops::Range;

use super::{begins_number, each_candidate, ends_number, expression};

/// With hyphens. Areas 000, 666 and 900 to 999, group 00 and serial 0000 are never issued
/// (<https://www.ssa.gov/employer/randomization.html>).
pub(super) fn find(text: &[u8], push: &mut impl FnMut(Range<usize>)) {
    each_candidate(expression!(r"[0-9]{3}-[0-9]{2}-[0-9]{4}"), text, |found| {
        let number = &text[found.clone()];
        let is_issued = number[0] != b'9'
            && &number[..3] != b"000"
            && &number[..3] != b"666"
            && &number[4..6] != b"00"
            && &number[7..] != b"0000";
        let is_number = is_issued && begins_number(text, found.start) && ends_number(text, found.end);
        is_number.then(|| {
            push(found.clone());
            found.end
        })
    });
}
