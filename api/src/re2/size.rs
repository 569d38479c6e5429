//! How large the program is to which RE2 compiles a regular expression.
//!
//! Envoy refuses programs that are larger than a bound. RE2 has an instruction for each byte, for each range of bytes of a class and
//! for each group; what it shares is followed here as far as it matters: common beginnings of alternatives, and the ends of characters
//! of several bytes.

use std::collections::BTreeSet;

use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassPerl, ClassPerlKind, ClassSet, ClassSetItem, Flag, Flags, GroupKind, RepetitionKind,
    RepetitionRange,
};
use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};
use regex_syntax::utf8::{Utf8Range, Utf8Sequences};

use super::as_rust;

/// What every program has beside its pattern, of which the search for its beginning is one.
const BASE: usize = 4;
/// About what a class of Unicode has. Few of them are so small that a program with one is not large.
const UNICODE_CLASS: usize = 1000;
/// Every character from U+0080 on.
const BEYOND_ASCII: usize = 6;

/// Returns about how many instructions RE2's program for a regular expression has, or 0 for one that it does not take.
pub(crate) fn program_size(pattern: &str) -> usize {
    let Ok(ast) = ast::parse::Parser::new().parse(&as_rust(pattern)) else { return 0 };
    let asts = concatenated(&ast);
    let is = |ast: Option<&Ast>, kind: &AssertionKind| matches!(ast, Some(Ast::Assertion(it)) if it.kind == *kind);
    let is_anchored = asts.len() > 1 && is(asts.first(), &AssertionKind::StartLine);
    let ends = usize::from(is_anchored) + usize::from(asts.len() > 1 && is(asts.last(), &AssertionKind::EndLine));
    // What is anchored is not searched, and anchors at the ends are no instructions.
    let base = BASE - usize::from(is_anchored);
    base + Mode::default().size(&ast).saturating_sub(ends)
}

/// The flags that hold.
#[derive(Debug, Clone, Copy, Default)]
struct Mode {
    ignores_case: bool,
    dot_takes_newline: bool,
}

impl Mode {
    fn with(self, flags: &Flags) -> Self {
        let state = |flag: Flag, now: bool| flags.flag_state(flag).unwrap_or(now);
        Self {
            ignores_case: state(Flag::CaseInsensitive, self.ignores_case),
            dot_takes_newline: state(Flag::DotMatchesNewLine, self.dot_takes_newline),
        }
    }

    fn size(self, ast: &Ast) -> usize {
        match ast {
            Ast::Empty(_) | Ast::Flags(_) => 0,
            Ast::Assertion(_) => 1,
            Ast::Literal(literal) => self.size_of_char(literal.c),
            // All of ASCII is one range, and without the newline two.
            Ast::Dot(_) => BEYOND_ASCII + if self.dot_takes_newline { 1 } else { 2 },
            Ast::ClassUnicode(_) => UNICODE_CLASS,
            Ast::ClassPerl(class) => {
                let mut ranges = Ranges::new(self.ignores_case);
                ranges.add_perl(class);
                ranges.size()
            }
            Ast::ClassBracketed(class) => {
                let mut ranges = Ranges::new(self.ignores_case);
                ranges.add_set(&class.kind);
                if class.negated {
                    ranges.class.negate();
                }
                ranges.size()
            }
            Ast::Repetition(repetition) => repeated(&repetition.op.kind, self.size(&repetition.ast)),
            Ast::Group(group) => match &group.kind {
                GroupKind::CaptureIndex(_) | GroupKind::CaptureName { .. } => 2 + self.size(&group.ast),
                GroupKind::NonCapturing(flags) => self.with(flags).size(&group.ast),
            },
            Ast::Alternation(alternation) => {
                let alternatives = alternation.asts.iter().map(|ast| self.alternative(ast));
                self.size_of_alternatives(&alternatives.collect::<Vec<_>>())
            }
            Ast::Concat(concat) => self.size_of_all(&concat.asts),
        }
    }

    fn size_of_all(mut self, asts: &[Ast]) -> usize {
        let mut size = 0;
        for ast in asts {
            if let Ast::Flags(flags) = ast {
                self = self.with(&flags.flags);
            }
            size += self.size(ast);
        }
        size
    }

    /// Returns the size of a character. Two letters of ASCII have other forms beyond it: the long s and the sign of Kelvin.
    fn size_of_char(self, c: char) -> usize {
        match c.to_ascii_lowercase() {
            'k' if self.ignores_case => 4,
            's' if self.ignores_case => 3,
            c if c.is_ascii() => 1,
            c if self.ignores_case && c.is_alphabetic() => 2 * c.len_utf8(),
            c => c.len_utf8(),
        }
    }

    fn alternative(self, ast: &Ast) -> Alternative {
        let asts = concatenated(ast);
        let literal = asts.iter().map_while(|ast| if let Ast::Literal(literal) = ast { Some(literal.c) } else { None });
        let literal: Vec<char> = literal.collect();
        Alternative { rest: self.size_of_all(&asts[literal.len()..]), literal }
    }

    /// Returns the size of alternatives, of which those beside each other that begin alike share that.
    fn size_of_alternatives(self, alternatives: &[Alternative]) -> usize {
        let mut size = 0;
        let mut single = Ranges::new(self.ignores_case);
        for run in
            alternatives.chunk_by(|one, next| !one.literal.is_empty() && one.literal.first() == next.literal.first())
        {
            match run {
                [Alternative { literal, rest: 0 }] if literal.len() == 1 => single.add(literal[0], literal[0]),
                [Alternative { literal, rest }] => size += rest + self.size_of_text(literal),
                [first, others @ ..] => {
                    let shared = |other: &Alternative| {
                        first.literal.iter().zip(&other.literal).take_while(|(one, other)| one == other).count()
                    };
                    let shared = others.iter().map(shared).min().unwrap_or(0);
                    let rest = |it: &Alternative| Alternative { literal: it.literal[shared..].to_vec(), rest: it.rest };
                    size += self.size_of_text(&first.literal[..shared]);
                    size += self.size_of_alternatives(&run.iter().map(rest).collect::<Vec<_>>());
                }
                [] => {}
            }
        }
        size + single.size()
    }

    fn size_of_text(self, text: &[char]) -> usize {
        text.iter().map(|c| self.size_of_char(*c)).sum()
    }
}

/// Returns what stands one after the other.
fn concatenated(ast: &Ast) -> &[Ast] {
    if let Ast::Concat(concat) = ast { &concat.asts } else { std::slice::from_ref(ast) }
}

/// One of several alternatives: the text that it begins with, and the size of the rest.
struct Alternative {
    literal: Vec<char>,
    rest: usize,
}

/// Returns the size of a repetition: RE2 writes out what is counted.
fn repeated(kind: &RepetitionKind, size: usize) -> usize {
    let times = |number: u32| size.saturating_mul(number as usize);
    match kind {
        RepetitionKind::ZeroOrMore | RepetitionKind::Range(RepetitionRange::AtLeast(0)) => size,
        RepetitionKind::ZeroOrOne | RepetitionKind::OneOrMore => size + 1,
        RepetitionKind::Range(RepetitionRange::Exactly(number)) => times(*number),
        RepetitionKind::Range(RepetitionRange::AtLeast(least)) => times(*least) + 1,
        RepetitionKind::Range(RepetitionRange::Bounded(least, most)) => times(*most) + (most - least) as usize,
    }
}

/// The characters of a class.
#[derive(Debug)]
struct Ranges {
    class: ClassUnicode,
    ignores_case: bool,
    is_unicode: bool,
}

impl Ranges {
    fn new(ignores_case: bool) -> Self {
        Self { class: ClassUnicode::empty(), ignores_case, is_unicode: false }
    }

    fn push(&mut self, first: char, last: char) {
        self.class.push(ClassUnicodeRange::new(first, last));
    }

    fn add(&mut self, first: char, last: char) {
        self.push(first, last);
        if self.ignores_case {
            for c in (first..=last.min('z')).filter(char::is_ascii_alphabetic) {
                [c.to_ascii_lowercase(), c.to_ascii_uppercase()].into_iter().for_each(|c| self.push(c, c));
                match c.to_ascii_lowercase() {
                    'k' => self.push('\u{212A}', '\u{212A}'),
                    's' => self.push('\u{17F}', '\u{17F}'),
                    _ => {}
                }
            }
        }
    }

    /// Adds some characters, or all others.
    fn add_class(&mut self, mut class: ClassUnicode, is_negated: bool) {
        if is_negated {
            class.negate();
        }
        self.class.union(&class);
    }

    fn add_perl(&mut self, perl: &ClassPerl) {
        let ranges: &[(char, char)] = match perl.kind {
            ClassPerlKind::Digit => &[('0', '9')],
            ClassPerlKind::Space => &[('\t', '\n'), ('\x0C', '\r'), (' ', ' ')],
            ClassPerlKind::Word => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        };
        let class = ClassUnicode::new(ranges.iter().map(|(first, last)| ClassUnicodeRange::new(*first, *last)));
        self.add_class(class, perl.negated);
    }

    fn add_set(&mut self, set: &ClassSet) {
        match set {
            ClassSet::Item(item) => self.add_item(item),
            // Its signs stand for themselves in RE2.
            ClassSet::BinaryOp(_) => {}
        }
    }

    fn add_item(&mut self, item: &ClassSetItem) {
        match item {
            ClassSetItem::Empty(_) => {}
            ClassSetItem::Literal(literal) => self.add(literal.c, literal.c),
            ClassSetItem::Range(range) => self.add(range.start.c, range.end.c),
            ClassSetItem::Perl(class) => self.add_perl(class),
            ClassSetItem::Ascii(ascii) => {
                let of_kind = (0..0x80_u8).map(char::from).filter(|c| is_of_kind(*c, &ascii.kind));
                self.add_class(ClassUnicode::new(of_kind.map(|c| ClassUnicodeRange::new(c, c))), ascii.negated);
            }
            ClassSetItem::Unicode(_) => self.is_unicode = true,
            ClassSetItem::Bracketed(class) => self.add_set(&class.kind),
            ClassSetItem::Union(union) => union.items.iter().for_each(|item| self.add_item(item)),
        }
    }

    fn size(&self) -> usize {
        const BEYOND: char = '\u{80}';
        let ranges = self.class.ranges();
        let holds = |c: char| ranges.iter().any(|range| (range.start()..=range.end()).contains(&c));
        // Then one range does for both forms of letters.
        let folds = ('a'..='z').all(|c| holds(c) == holds(c.to_ascii_uppercase()));
        let mut size = 0;
        let mut endings: BTreeSet<Vec<(u8, u8)>> = BTreeSet::new();
        for range in ranges {
            let (first, last) = (range.start(), range.end());
            let is_spared = folds && first.is_ascii_uppercase() && last.is_ascii_uppercase();
            size += usize::from(first < BEYOND && !is_spared);
            let beyond = first.max(BEYOND);
            if last == char::MAX && beyond == BEYOND {
                size += BEYOND_ASCII;
            } else if beyond <= last {
                for sequence in Utf8Sequences::new(beyond, last) {
                    let bytes = sequence.as_slice().iter().map(|Utf8Range { start, end }| (*start, *end));
                    let bytes: Vec<(u8, u8)> = bytes.collect();
                    endings.extend((0..bytes.len()).map(|from| bytes[from..].to_vec()));
                }
            }
        }
        size + endings.len() + if self.is_unicode { UNICODE_CLASS } else { 0 }
    }
}

fn is_of_kind(c: char, kind: &ast::ClassAsciiKind) -> bool {
    use ast::ClassAsciiKind::{
        Alnum, Alpha, Ascii, Blank, Cntrl, Digit, Graph, Lower, Print, Punct, Space, Upper, Word, Xdigit,
    };
    match kind {
        Alnum => c.is_ascii_alphanumeric(),
        Alpha => c.is_ascii_alphabetic(),
        Ascii => c.is_ascii(),
        Blank => matches!(c, ' ' | '\t'),
        Cntrl => c.is_ascii_control(),
        Digit => c.is_ascii_digit(),
        Graph => c.is_ascii_graphic(),
        Lower => c.is_ascii_lowercase(),
        Print => c.is_ascii_graphic() || c == ' ',
        Punct => c.is_ascii_punctuation(),
        Space => c.is_ascii_whitespace() || c == '\x0B',
        Upper => c.is_ascii_uppercase(),
        Word => c.is_ascii_alphanumeric() || c == '_',
        Xdigit => c.is_ascii_hexdigit(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regular expressions, and the sizes that RE2 itself gives (`programsize` of the Python package google-re2).
    const SIZES: &[(usize, &str)] = &[
        (4, r""),
        (5, r"a"),
        (7, r"abc"),
        (5, r"a*"),
        (6, r"a+"),
        (6, r"a?"),
        (8, r"(ab)*"),
        (5, r"a|b"),
        (8, r"ab|cd"),
        (7, r"abc|abd"),
        (13, r"abc|xyz|pqr"),
        (7, r"[ace]"),
        (7, r"[a-zA-Z0-9_]"),
        (12, r"."),
        (12, r".*"),
        (5, r"\d"),
        (8, r"\w+"),
        (13, r"[^/]+"),
        (7, r"a{3}"),
        (11, r"a{3,5}"),
        (24, r"a{0,10}"),
        (8, r"a{3,}"),
        (7, r"(a|b|c)*"),
        (4, r"^a$"),
        (7, r"(?i)abc"),
        (12, r"(?i)sky"),
        (6, r"é"),
        (6, r"[é-ü]"),
        (27, r"/api/v[0-9]+/users/.*"),
        (16, r"^/a(/.*)?$"),
        (10, r"(?i)[a-z]"),
        (9, r"\bfoo\b"),
        (23, r".*foo.*"),
        (14, r"(.*)"),
        (40, r"^/(en|de|fr|it|es|pt)/products/([0-9]+)/reviews$"),
        (79, r"/users/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        (50, r".*(Chrome|Firefox|Safari|Edge|Opera).*"),
        (43, r"(?i).*(android|iphone|ipad|mobile).*"),
        (23, r"^(GET|POST|PUT|PATCH|DELETE)$"),
        (41, r"^https?://([a-z0-9-]+\.)*example\.(com|org|net)(:[0-9]+)?$"),
        (25, r"[[:alnum:]_.-]+@[[:alnum:]-]+\.[a-z]{2,6}"),
        (38, r"^(.*?;)?(user=jason)(;.*)?$"),
        (37, r"\S+\s\D\W"),
        (76, r"/(static|assets|images|img|css|js|fonts)/.*\.(png|jpe?g|gif|svg|ico|css|js|woff2?)"),
        (11, r"(?s)."),
        (15, r"a\.b\.c/x/y/z"),
        (
            63,
            r"^(([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])\.){3}([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])$",
        ),
    ];

    #[test]
    fn sizes_are_nearly_those_of_re2() {
        let mut exact = 0;
        for (size, pattern) in SIZES {
            let told = program_size(pattern);
            exact += usize::from(told == *size);
            assert!(told >= *size && told <= size + 3, "{pattern}: want {size}, got {told}");
        }
        assert!(exact * 10 >= SIZES.len() * 8, "{exact} of {}", SIZES.len());
    }

    #[test]
    fn flags_classes_and_repetitions_count() {
        assert_eq!(program_size("("), 0, "it is refused");
        assert!(program_size(r"\p{L}") > 1000 && program_size(r"[\pL]") > 1000);
        assert_eq!(program_size("(?i:k)"), program_size("[kK\u{212A}]"));
        assert!(program_size("(a{100}){10}") > 1000);
        assert_eq!(program_size("[^a]"), program_size("[^[:lower:]]"));
    }
}
