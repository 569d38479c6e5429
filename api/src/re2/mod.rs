//! The regular expressions that Envoy takes: those of RE2.

mod size;

pub(crate) use size::program_size;

use regex_syntax::ast::{self, Ast, Flag, FlagsItemKind, HexLiteralKind, LiteralKind, RepetitionKind, RepetitionRange};

/// The largest number of repetitions that RE2 takes, also of repetitions within repetitions.
const REPETITIONS_MAX: u32 = 1000;

/// Checks that RE2 takes a regular expression. The parser is that of Rust's `regex`, whose syntax is nearly RE2's: what
/// differs is written anew before it is parsed, or refused afterwards.
///
/// # Errors
/// Returns why RE2 would refuse it.
pub(crate) fn check(pattern: &str) -> Result<(), String> {
    let rewritten = as_rust(pattern);
    let ast = ast::parse::Parser::new().parse(&rewritten).map_err(|error| error.kind().to_string())?;
    ast::visit(&ast, Re2 { repetitions: Vec::new() })
}

/// Returns a pattern of RE2 as Rust's library `regex` takes it: a brace that repeats nothing and, within brackets, another opening
/// bracket and the signs of set operations stand for themselves in RE2, and so do `\<` and `\>`; `\C` is any byte, and
/// `\Q…\E` quotes.
pub fn as_rust(pattern: &str) -> String {
    let mut rewritten = String::with_capacity(pattern.len());
    let mut in_brackets = false;
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let tail = &rest[first.len_utf8()..];
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let (text, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            rewritten.push_str(&regex_syntax::escape(text));
            rest = after;
            continue;
        }
        if first == '\\' {
            let escaped = tail.chars().next().map_or(0, char::len_utf8);
            let escape = &rest[..1 + escaped];
            rest = &tail[escaped..];
            match escape {
                "\\C" => rewritten.push('.'),
                // Boundaries of words in Rust.
                "\\<" | "\\>" => rewritten.push_str(&escape[1..]),
                "\\x" | "\\p" | "\\P" if rest.starts_with('{') => {
                    let end = rest.find('}').map_or(0, |end| end + 1);
                    rewritten.push_str(escape);
                    rewritten.push_str(&rest[..end]);
                    rest = &rest[end..];
                }
                _ => rewritten.push_str(escape),
            }
            continue;
        }
        match first {
            '[' if !in_brackets => {
                in_brackets = true;
                rewritten.push('[');
                // A closing bracket that comes first stands for itself.
                let negation = tail.strip_prefix('^').map_or("", |_| "^");
                rewritten.push_str(negation);
                rest = &tail[negation.len()..];
                if let Some(after) = rest.strip_prefix(']') {
                    rewritten.push_str("\\]");
                    rest = after;
                }
                continue;
            }
            '[' if tail.starts_with(':') => {
                let end = tail.find(":]").map_or(0, |end| end + 2);
                rewritten.push('[');
                rewritten.push_str(&tail[..end]);
                rest = &tail[end..];
                continue;
            }
            '[' | '&' | '~' if in_brackets => rewritten.push('\\'),
            ']' => in_brackets = false,
            '{' if !in_brackets && !is_repetition(tail) => rewritten.push('\\'),
            _ => {}
        }
        rewritten.push(first);
        rest = tail;
    }
    rewritten
}

/// Returns whether the text after a brace makes it a repetition: `3}`, `3,}` or `3,5}`.
fn is_repetition(text: &str) -> bool {
    let Some((counts, _)) = text.split_once('}') else { return false };
    let (least, most) = counts.split_once(',').unwrap_or((counts, ""));
    !least.is_empty() && least.chars().chain(most.chars()).all(|digit| digit.is_ascii_digit())
}

/// Refuses what Rust's syntax has and RE2's has not.
struct Re2 {
    /// The most repetitions that each repetition around the current place asks for.
    repetitions: Vec<u32>,
}

impl ast::Visitor for Re2 {
    type Output = ();
    type Err = String;

    fn finish(self) -> Result<(), String> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        match ast {
            Ast::Repetition(repetition) => self.enter_repetition(&repetition.op.kind),
            Ast::Flags(flags) => check_flags(&flags.flags),
            Ast::Group(group) => group.flags().map_or(Ok(()), check_flags),
            Ast::Literal(literal) => check_literal(&literal.kind),
            Ast::Empty(_)
            | Ast::Assertion(_)
            | Ast::Dot(_)
            | Ast::ClassUnicode(_)
            | Ast::ClassPerl(_)
            | Ast::ClassBracketed(_)
            | Ast::Alternation(_)
            | Ast::Concat(_) => Ok(()),
        }
    }

    fn visit_post(&mut self, ast: &Ast) -> Result<(), String> {
        if matches!(ast, Ast::Repetition(_)) {
            self.repetitions.pop();
        }
        Ok(())
    }
}

impl Re2 {
    fn enter_repetition(&mut self, kind: &RepetitionKind) -> Result<(), String> {
        let most = match kind {
            RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
            RepetitionKind::Range(
                RepetitionRange::Exactly(most) | RepetitionRange::AtLeast(most) | RepetitionRange::Bounded(_, most),
            ) => (*most).max(1),
        };
        self.repetitions.push(most);
        let product = self.repetitions.iter().try_fold(1_u32, |product, most| product.checked_mul(*most));
        match product {
            Some(product) if product <= REPETITIONS_MAX => Ok(()),
            Some(_) | None => Err(format!("RE2 repeats at most {REPETITIONS_MAX} times")),
        }
    }
}

fn check_flags(flags: &ast::Flags) -> Result<(), String> {
    let foreign = flags.items.iter().find_map(|item| match item.kind {
        FlagsItemKind::Flag(Flag::IgnoreWhitespace) => Some('x'),
        FlagsItemKind::Flag(Flag::Unicode) => Some('u'),
        FlagsItemKind::Flag(Flag::CRLF) => Some('R'),
        FlagsItemKind::Negation
        | FlagsItemKind::Flag(Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed) => {
            None
        }
    });
    foreign.map_or(Ok(()), |flag| Err(format!("RE2 has no flag {flag}")))
}

fn check_literal(kind: &LiteralKind) -> Result<(), String> {
    match kind {
        LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err("RE2 writes characters by their number as \\x{10FFFF}".into())
        }
        LiteralKind::Verbatim
        | LiteralKind::Meta
        | LiteralKind::Superfluous
        | LiteralKind::Octal
        | LiteralKind::HexFixed(HexLiteralKind::X)
        | LiteralKind::HexBrace(HexLiteralKind::X)
        | LiteralKind::Special(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_re2_takes_is_taken() {
        for pattern in [
            "",
            ".*",
            "/isbn/[0-9-]+",
            "^/author/([^/]+)$",
            "(?i)^hello\\b",
            "(?P<name>a+)?",
            "[[:alpha:]_]+",
            "[]a]",
            "[^]a]",
            "a{2,5}",
            "a{,5}",
            "{id}",
            "x}",
            "[a&&b]",
            "[[a]",
            "\\Qa.b\\E+",
            "\\pL\\x{1F600}[\\x{41}]\\p{Greek}\\C",
            "\\<b\\b{start}",
            "(a|b)*?",
            "\\d+\\.\\w",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused_with_the_reason() {
        let refused = |pattern: &str, reason: &str| {
            let error = check(pattern).expect_err(pattern);
            assert!(error.contains(reason), "{pattern}: {error}");
        };
        refused("(", "unclosed group");
        refused("[a", "unclosed character class");
        refused("*a", "repetition operator missing expression");
        refused("(?=a)", "look-around");
        refused("(a)\\1", "backreference");
        refused("(?x) a", "no flag x");
        refused("a{1001}", "at most 1000");
        refused("(a{100}){100}", "at most 1000");
        refused("\\u0041", "10FFFF");
    }
}
