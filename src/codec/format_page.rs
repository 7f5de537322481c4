//! The examples of `docs/FORMAT.md`, which tests compare with what is encoded.

/// The bytes of an example in hexadecimal: what is to the left of the bars.
pub(crate) fn shown(name: &str) -> String {
    let page = include_str!("../../docs/FORMAT.md");
    let (_, block) = page.split_once(&format!("```hex {name}\n")).unwrap();
    let lines = block.lines().take_while(|line| *line != "```");
    lines.map(|line| line.split('|').next().unwrap().replace(' ', "")).collect()
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
