//! A template's source in the forms that `MiniJinja` parses, where Jinja2 also has others.
//!
//! - `{% generation %}` marks the assistant's text for training; here it does nothing.
//! - Texts in quotes have Python's escapes: a line break after a backslash is nothing, `\U0001F642` is a character.
//! - `'%s!' % x` formats, as the filter `format` does.

use std::iter::Peekable;
use std::str::CharIndices;

/// Rewrites a template's tags; what is outside of them stays as it is.
pub(super) fn normalize(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(begin) = rest
        .find("{%")
        .into_iter()
        .chain(rest.find("{{"))
        .chain(rest.find("{#"))
        .min()
    {
        let (text, tag) = rest.split_at(begin);
        result.push_str(text);
        let Some(end) = tag_end(tag) else {
            result.push_str(tag);
            return result;
        };
        let (tag, after) = tag.split_at(end);
        result.push_str(&rewrite(tag));
        rest = after;
        if is_block(tag, "raw")
            && let Some(end) = rest.find("endraw").and_then(|end| rest[..end].rfind("{%"))
        {
            result.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    result + rest
}

/// The length of the tag that a text starts with; `None` if it doesn't end.
fn tag_end(tag: &str) -> Option<usize> {
    let close = match &tag[..2] {
        "{#" => return tag.find("#}").map(|end| end + 2),
        "{{" => "}}",
        _ => "%}",
    };
    let mut characters = tag.char_indices().peekable();
    let mut depth = 0_usize;
    characters.nth(1);
    while let Some((index, character)) = characters.next() {
        match character {
            '\'' | '"' => skip_text(&mut characters, character)?,
            // An expression may end in a mapping's brace.
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' if depth > 0 => depth -= 1,
            _ if depth == 0 && tag[index..].starts_with(close) => return Some(index + 2),
            _ => {}
        }
    }
    None
}

/// Goes to the end of a text in quotes.
fn skip_text(characters: &mut Peekable<CharIndices<'_>>, quote: char) -> Option<()> {
    loop {
        match characters.next()?.1 {
            '\\' => drop(characters.next()?),
            end if end == quote => return Some(()),
            _ => {}
        }
    }
}

/// Whether a tag is this block.
fn is_block(tag: &str, name: &str) -> bool {
    block_name(tag) == Some(name)
}

fn block_name(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    Some(inside.trim_matches(['-', '+']).trim())
}

/// One tag in `MiniJinja`'s forms.
fn rewrite(tag: &str) -> String {
    // A block without effect keeps the white space control of the tags.
    match block_name(tag) {
        Some("generation") => return tag.replacen("generation", "if true", 1),
        Some("endgeneration") => return tag.replacen("endgeneration", "endif", 1),
        _ => {}
    }
    let mut result = String::with_capacity(tag.len());
    if tag.starts_with("{#") {
        return tag.to_owned();
    }
    let mut rest = tag;
    while let Some(begin) = rest.find(['\'', '"']) {
        let mut characters = rest[begin..].char_indices().peekable();
        let quote = characters.next().map_or('"', |(_, quote)| quote);
        if skip_text(&mut characters, quote).is_none() {
            break;
        }
        let end = characters
            .peek()
            .map_or(rest.len(), |(index, _)| begin + index);
        result.push_str(&rest[..begin]);
        result.push_str(&quoted(&rest[begin + 1..end - 1]));
        rest = &rest[end..];
        if let Some((arguments, after)) = percent_operand(rest) {
            result.extend(["|format(", &arguments, ")"]);
            rest = after;
        }
    }
    result + rest
}

/// A text in quotes again, with the escapes that `MiniJinja` knows.
fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    let mut push = |character: char| match character {
        '"' => result.push_str("\\\""),
        '\\' => result.push_str("\\\\"),
        other => result.push(other),
    };
    let mut rest = text;
    while let Some(position) = rest.find('\\') {
        rest[..position].chars().for_each(&mut push);
        let escape = &rest[position + 1..];
        let (character, length) = unescape(escape);
        match character {
            Some(character) => push(character),
            None if length == 0 => push('\\'),
            // A line break.
            None => {}
        }
        rest = &escape[length..];
    }
    rest.chars().for_each(&mut push);
    result.push('"');
    result
}

/// The character of an escape after its backslash, and the escape's length: 0 for one that Python doesn't know, which stays
/// as it is.
fn unescape(escape: &str) -> (Option<char>, usize) {
    let number = |start: usize, length: usize, radix: u32| {
        let digits = escape.get(start..start + length)?;
        let value = u32::from_str_radix(digits, radix).ok()?;
        char::from_u32(value)
    };
    let of_number = |character: Option<char>, length| match character {
        Some(character) => (Some(character), length),
        None => (None, 0),
    };
    let simple = |character| (Some(character), 1);
    match escape.chars().next() {
        Some('\n') => (None, 1),
        Some(character @ ('\\' | '\'' | '"')) => simple(character),
        Some('a') => simple('\x07'),
        Some('b') => simple('\x08'),
        Some('f') => simple('\x0c'),
        Some('n') => simple('\n'),
        Some('r') => simple('\r'),
        Some('t') => simple('\t'),
        Some('v') => simple('\x0b'),
        Some('x') => of_number(number(1, 2, 16), 3),
        Some('u') => match (number(1, 4, 16), surrogates(escape)) {
            (None, Some(character)) => (Some(character), 11),
            (character, _) => of_number(character, 5),
        },
        Some('U') => of_number(number(1, 8, 16), 9),
        Some('0'..='7') => {
            let digits = escape
                .bytes()
                .take(3)
                .take_while(|byte| matches!(byte, b'0'..=b'7'));
            let length = digits.count();
            of_number(number(0, length, 8), length)
        }
        _ => (None, 0),
    }
}

/// The character of two `\uXXXX` that are a pair.
fn surrogates(escape: &str) -> Option<char> {
    let unit = |start: usize| u16::from_str_radix(escape.get(start..start + 4)?, 16).ok();
    let units = [
        unit(1)?,
        unit(7).filter(|_| escape.get(5..7) == Some("\\u"))?,
    ];
    char::decode_utf16(units).next()?.ok()
}

/// What `%` after a text formats: the arguments, and what follows. `None` if no `%` follows.
fn percent_operand(rest: &str) -> Option<(String, &str)> {
    let operand = rest.trim_start().strip_prefix('%')?;
    // The end of a block.
    if operand.starts_with('}') {
        return None;
    }
    let operand = operand.trim_start();
    let end = operand_end(operand);
    let (operand, after) = operand.split_at(end);
    let arguments = match operand
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(several) => several.trim_end().trim_end_matches(','),
        None => operand,
    };
    Some((rewrite_inside(arguments), after))
}

/// An expression's texts in `MiniJinja`'s forms.
fn rewrite_inside(expression: &str) -> String {
    rewrite(&format!(" {expression}")).trim_start().to_owned()
}

/// The length of the operand that a text starts with: a name, number, text or bracket, with what is looked up in it or called.
fn operand_end(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    let mut depth = 0_usize;
    while let Some((index, character)) = characters.peek().copied() {
        match character {
            '\'' | '"' => {
                characters.next();
                if skip_text(&mut characters, character).is_none() {
                    return text.len();
                }
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            letter if letter.is_alphanumeric() || matches!(letter, '_' | '.') => {}
            _ => return index,
        }
        characters.next();
    }
    text.len()
}
