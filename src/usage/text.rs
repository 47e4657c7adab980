//! The text of a JSON string, read piece by piece: a stored stream can be one string of tens of megabytes.

/// Longer strings inside a text are cut when it is skimmed. Nothing that is looked at is as long.
const KEPT_STRING_BYTES: usize = 256;

/// The literal of a JSON string, without its quotes. Its escapes are valid: a JSON parser has seen it.
#[derive(Clone, Copy, Debug)]
pub(super) struct StringLiteral<'a>(&'a str);

impl<'a> StringLiteral<'a> {
    /// `None` when the value is not a string.
    pub(super) fn of(json: &'a str) -> Option<Self> {
        json.strip_prefix('"')?.strip_suffix('"').map(Self)
    }

    /// A part of one.
    pub(super) const fn of_escaped(escaped: &'a str) -> Self {
        Self(escaped)
    }

    /// As it stands in the JSON, escapes and all.
    pub(super) const fn escaped(self) -> &'a str {
        self.0
    }

    /// The text, in pieces that borrow from the literal or are one character each. A lone surrogate becomes U+FFFD.
    pub(super) fn pieces(self) -> Pieces<'a> {
        Pieces { rest: self.0 }
    }

    /// The beginning of the text, without white space before it.
    pub(super) fn start(self, characters: usize) -> String {
        let mut start = String::new();
        for piece in self.pieces() {
            let text = piece.as_str();
            let text = if start.is_empty() { text.trim_start() } else { text };
            start.extend(text.chars().take(characters.saturating_sub(start.chars().count())));
            if start.chars().count() >= characters {
                break;
            }
        }
        start
    }

    /// The whole text.
    pub(super) fn unescaped(self) -> String {
        let mut text = String::with_capacity(self.0.len());
        self.pieces().for_each(|piece| text.push_str(piece.as_str()));
        text
    }

    /// The whole text, which is JSON, with its long strings cut.
    pub(super) fn skimmed(self) -> String {
        let mut skimmed = Skimmed::default();
        self.pieces().for_each(|piece| skimmed.push(piece.as_str()));
        skimmed.text
    }
}

/// A part of a text.
pub(super) enum Piece<'a> {
    /// As it stands in the literal.
    Run(&'a str),
    /// One escaped character in UTF-8.
    Escaped([u8; 4], usize),
}

impl Piece<'_> {
    fn of_char(character: char) -> Self {
        let mut bytes = [0; 4];
        let length = character.encode_utf8(&mut bytes).len();
        Self::Escaped(bytes, length)
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Run(text) => text,
            Self::Escaped(bytes, length) => {
                bytes.get(..*length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
            }
        }
    }
}

/// See [`StringLiteral::pieces`].
pub(super) struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let run = self.rest.find('\\').unwrap_or(self.rest.len());
        if run > 0 {
            let (text, rest) = self.rest.split_at(run);
            self.rest = rest;
            return Some(Piece::Run(text));
        }
        let mut characters = self.rest.chars();
        characters.next();
        let kind = characters.next()?;
        self.rest = characters.as_str();
        Some(Piece::of_char(match kind {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{C}',
            'u' => self.unicode_escape(),
            other => other,
        }))
    }
}

impl Pieces<'_> {
    fn unicode_escape(&mut self) -> char {
        let unit = self.hex().unwrap_or(0xFFFD);
        let mut units = [unit; 2];
        let mut length = 1;
        if (0xD800..0xDC00).contains(&unit) && self.rest.starts_with("\\u") {
            let mut ahead = Pieces { rest: self.rest.get(2..).unwrap_or_default() };
            if let Some(low @ 0xDC00..0xE000) = ahead.hex() {
                units[1] = low;
                length = 2;
                self.rest = ahead.rest;
            }
        }
        char::decode_utf16(units.into_iter().take(length))
            .next()
            .and_then(Result::ok)
            .unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Option<u16> {
        let digits = self.rest.get(..4)?;
        let unit = u16::from_str_radix(digits, 16).ok()?;
        self.rest = self.rest.get(4..)?;
        Some(unit)
    }
}

/// JSON text in the making, of which long strings are kept only in part.
#[derive(Debug, Default)]
pub(super) struct Skimmed {
    pub(super) text: String,
    state: State,
    /// Bytes of the present string so far.
    string_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escape,
    /// So many hex digits are to come.
    Hex(u8),
}

impl Skimmed {
    /// Begins anew, as at the beginning of a line: no JSON string reaches over the end of one.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.state = State::Outside;
    }

    /// Adds text.
    pub(super) fn push(&mut self, mut text: &str) {
        while !text.is_empty() {
            text = match self.state {
                State::Outside => self.outside(text),
                State::Inside => self.inside(text),
                State::Escape | State::Hex(_) => self.escape(text),
            };
        }
    }

    fn outside<'a>(&mut self, text: &'a str) -> &'a str {
        let Some((before, rest)) = text.split_once('"') else {
            self.text.push_str(text);
            return "";
        };
        self.text.push_str(before);
        self.text.push('"');
        self.state = State::Inside;
        self.string_bytes = 0;
        rest
    }

    fn inside<'a>(&mut self, text: &'a str) -> &'a str {
        let end = end_of_run(text);
        let (run, rest) = text.split_at(end);
        let room = KEPT_STRING_BYTES.saturating_sub(self.string_bytes);
        let kept = if run.len() <= room {
            run.len()
        } else {
            (0..=room).rev().find(|end| run.is_char_boundary(*end)).unwrap_or(0)
        };
        self.text.push_str(run.get(..kept).unwrap_or_default());
        self.string_bytes = self.string_bytes.saturating_add(run.len());
        let Some((special, rest)) = rest.split_at_checked(1) else { return "" };
        if special == "\\" {
            self.state = State::Escape;
            self.keep(special);
        } else {
            // A bare line end is no part of a JSON string: whatever this is, it begins anew.
            self.state = State::Outside;
            self.text.push_str(special);
        }
        rest
    }

    fn escape<'a>(&mut self, text: &'a str) -> &'a str {
        let length = text.chars().next().map_or(0, char::len_utf8);
        let (character, rest) = text.split_at(length);
        self.keep(character);
        self.state = match self.state {
            State::Escape if character == "u" => State::Hex(4),
            State::Hex(digits @ 2..) => State::Hex(digits - 1),
            _ => State::Inside,
        };
        if matches!(self.state, State::Inside) {
            self.string_bytes = self.string_bytes.saturating_add(6);
        }
        rest
    }

    /// An escape is kept whole or not at all: its length counts at its end.
    fn keep(&mut self, part: &str) {
        if self.string_bytes < KEPT_STRING_BYTES {
            self.text.push_str(part);
        }
    }
}

/// Where a text inside a JSON string has its first quote, backslash or line end.
fn end_of_run(text: &str) -> usize {
    /// From here on, three searches by memchr are faster than one byte by byte.
    const LONG_BYTES: usize = 64;
    if text.len() < LONG_BYTES {
        return text.bytes().position(|byte| matches!(byte, b'"' | b'\\' | b'\n')).unwrap_or(text.len());
    }
    ['"', '\\', '\n']
        .into_iter()
        .fold(text.len(), |end, special| text.get(..end).and_then(|before| before.find(special)).unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> String {
        serde_json::to_string(text).expect("JSON")
    }

    #[test]
    fn escapes_of_every_kind() {
        let json = r#""a\n\t\r\b\f\/\\\"\u0041\u00e9\ud83d\ude00\ud800x\udc00\ud800\u0041é""#;
        let text = StringLiteral::of(json).expect("a string").unescaped();
        assert_eq!(text, "a\n\t\r\u{8}\u{c}/\\\"Aé😀\u{FFFD}x\u{FFFD}\u{FFFD}Aé");
        assert!(StringLiteral::of("{}").is_none() && StringLiteral::of("\"").is_none());
    }

    #[test]
    fn long_strings_are_cut_and_the_json_stays_whole() {
        let long = ["A".repeat(5000), "é".repeat(900), "\\\"\u{1}".repeat(400), format!("{}\u{1}x", "a".repeat(255))];
        for long in &long {
            let json = serde_json::json!({"b64": long, "usage": {"prompt_tokens": 3}, "s": "short \u{1}"}).to_string();
            let skimmed = StringLiteral::of(&literal(&json)).expect("a string").skimmed();
            let value: serde_json::Value = serde_json::from_str(&skimmed).expect("JSON");
            assert_eq!((&value["usage"]["prompt_tokens"], &value["s"]), (&3.into(), &"short \u{1}".into()));
            let kept = value["b64"].as_str().expect("a string");
            assert!(long.starts_with(kept) && kept.len() <= KEPT_STRING_BYTES, "{kept}");
        }
    }

    #[test]
    fn the_start_is_without_white_space() {
        let quoted = literal(" \n\t data: {}");
        assert_eq!(StringLiteral::of(&quoted).expect("a string").start(6), "data: ");
        assert_eq!(StringLiteral::of("\"  \"").expect("a string").start(6), "");
    }
}
