//! Text of files and stores on its way to a terminal.

/// Text without characters that command the terminal, or that change the direction of what follows.
pub(crate) fn harmless(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut safe = String::new();
    for c in text.chars() {
        if c.is_control() || turns(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}
