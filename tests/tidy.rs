//! The rules of the house, as a test, so that they hold without anyone remembering.
//!
//! `RULES` is the list. Each rule is a function from one file to what is wrong with it, and `PLANTED` shows each rule
//! violations that it must catch and neighbours that it must let pass. A new room goes onto its floor in `FLOORS`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

/// The rooms of `src/`, from the ground up. A room sees itself and the floors below it, nothing else.
const FLOORS: &[&[&str]] = &[
    &["error", "limits"],
    &["model"],
    &["ops"],
    &["codec", "expr", "ingest"],
    &["merge"],
    &["join"],
    &["rocks"],
    &["store", "log"],
    &["db"],
    &["bin", "server"],
];

/// Crates that may be named behind certain doors only. Unit tests may name those marked so.
const DOORS: &[(&str, &[&str], bool)] = &[
    ("rocksdb", &["src/rocks/"], false),
    ("bincode", &["src/codec/"], false),
    ("serde_json", &["src/model/", "src/ops/admit.rs", "src/ingest/", "src/bin/", "src/server/"], true),
];

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 120;

/// Written in two halves, so that this file does not break its own rule.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("../sh", "ared")];

struct Rule {
    name: &'static str,
    applies: fn(&str) -> bool,
    check: fn(&File, &Tree) -> Vec<Finding>,
}

const RULES: &[Rule] = &[
    Rule { name: "floors", applies: is_src, check: floors },
    Rule { name: "doors", applies: is_src, check: doors },
    Rule { name: "globs", applies: is_src, check: globs },
    Rule { name: "names", applies: is_src, check: names },
    Rule { name: "file-size", applies: is_src, check: file_size },
    Rule { name: "function-size", applies: is_src, check: function_size },
    Rule { name: "line-width", applies: is_rust, check: line_width },
    Rule { name: "ascii", applies: is_src, check: ascii },
    Rule { name: "module-doc", applies: needs_doc, check: module_doc },
    Rule { name: "unfinished", applies: is_rust, check: unfinished },
    Rule { name: "links", applies: is_page, check: links },
    Rule { name: "machine-paths", applies: |_| true, check: machine_paths },
];

#[test]
fn the_tree_is_tidy() {
    let (files, tree) = read_tree(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the walk found no src/lib.rs");
    let findings: Vec<String> = files.iter().flat_map(|file| check(file, &tree)).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn check(file: &File, tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| (rule.applies)(&file.path)) {
        for Finding { at, what } in (rule.check)(file, tree) {
            let line = 1 + file.text[..at.min(file.text.len())].iter().filter(|&&c| c == '\n').count();
            found.push(format!("{}:{line}: {}: {what}", file.path, rule.name));
        }
    }
    found
}

// ---------------------------------------------------------------------------------------------------------------------
// Where the rules apply

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn is_src(path: &str) -> bool {
    path.starts_with("src/") && is_rust(path)
}

/// Every file of `src/`, and the roots of tests, benches, examples and fuzzers.
fn needs_doc(path: &str) -> bool {
    let roots = ["tests/", "benches/", "examples/", "fuzz/fuzz_targets/"];
    let is_root = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| !rest.contains('/'));
    is_src(path) || (is_rust(path) && roots.into_iter().any(is_root))
}

fn is_page(path: &str) -> bool {
    path.ends_with(".md") && (path.starts_with("docs/") || !path.contains('/'))
}

// ---------------------------------------------------------------------------------------------------------------------
// The rules

/// Arrows go down only. Rooms on one floor do not see each other. The top floor speaks the public API.
fn floors(file: &File, tree: &Tree) -> Vec<Finding> {
    let Some(here) = room_of(&file.path) else { return Vec::new() };
    let Some(floor) = floor_of(here) else {
        return vec![finding(0, format!("the room `{here}` is on no floor: put it into FLOORS in tests/tidy.rs"))];
    };
    if here == "bin" {
        return Vec::new(); // There `crate` is the binary, which can see no more than the public API.
    }
    let mut found = Vec::new();
    for (at, name) in crate_paths(&file.code) {
        let exported = tree.exports.get(&name);
        let room = exported.unwrap_or(&name).as_str();
        match floor_of(room) {
            None => found.push(finding(at, format!("`crate::{name}` is neither a room nor exported by lib.rs"))),
            Some(_) if room == here => {}
            Some(_) if floor + 1 == FLOORS.len() && exported.is_none() => {
                found.push(finding(at, format!("`{here}` speaks only the public API, and `crate::{name}` is a room")));
            }
            Some(below) if below < floor => {}
            Some(_) => found.push(finding(at, format!("`{here}` must not see `{room}`: arrows go down only"))),
        }
    }
    // `super` could climb out of a room without naming the one it enters.
    for (at, _) in words(&file.code).filter(|(_, word)| word == "super") {
        let climbs = (1..).take_while(|&n| starts_with(&file.code[at..], &"super::".repeat(n))).count();
        if climbs >= module_depth(file, at) {
            found.push(finding(at, "`super` leaves the room here: say `crate::`".into()));
        }
    }
    found
}

/// Some crates are named in one place only, so that they can be replaced, and bounded, in one place.
fn doors(file: &File, _: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, allowed, in_tests) in DOORS {
        if allowed.iter().any(|door| file.path.starts_with(door)) {
            continue;
        }
        for (at, _) in words(&file.code).filter(|(_, word)| word == name) {
            if !(*in_tests && file.is_test(at)) {
                found.push(finding(at, format!("`{name}` is for {} only", allowed.join(" "))));
            }
        }
    }
    found
}

/// A room's front says what it hands out, name by name.
fn globs(file: &File, _: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, _) in words(&file.code).filter(|(_, word)| word == "use") {
        let line_start = file.code[..at].iter().rposition(|&c| c == '\n').map_or(0, |newline| newline + 1);
        let path: String = file.code[at..].iter().take_while(|&&c| c != ';').collect();
        if starts_with(file.code[line_start..].trim_start(), "pub") && path.contains('*') {
            found.push(finding(at, "a glob re-export: list the names".into()));
        }
    }
    found
}

/// A file is one noun.
fn names(file: &File, _: &Tree) -> Vec<Finding> {
    let drawers = ["util", "utils", "common", "helper", "helpers", "misc"];
    let parts = file.path.split('/').map(|part| part.trim_end_matches(".rs"));
    let bad = parts.filter(|part| drawers.contains(part));
    bad.map(|part| finding(0, format!("`{part}` is a drawer: name the file for what it holds"))).collect()
}

fn file_size(file: &File, _: &Tree) -> Vec<Finding> {
    let lines = file.text.split(|&c| c == '\n').count() - 1;
    let what = format!("{lines} lines, at most {FILE_LINES_MAX}");
    if lines > FILE_LINES_MAX { vec![finding(file.text.len(), what)] } else { Vec::new() }
}

fn function_size(file: &File, _: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, _) in words(&file.code).filter(|(_, word)| word == "fn") {
        let name = word_at(&file.code, at + 3);
        if let (false, false, Some(body)) = (name.is_empty(), file.is_test(at), body(&file.code, at)) {
            let lines = file.code[at..body.end].iter().filter(|&&c| c == '\n').count() + 1;
            if lines > FUNCTION_LINES_MAX {
                found.push(finding(at, format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}")));
            }
        }
    }
    found
}

fn line_width(file: &File, _: &Tree) -> Vec<Finding> {
    let mut at = 0;
    let mut found = Vec::new();
    for line in file.text.split(|&c| c == '\n') {
        if line.len() > LINE_CHARS_MAX {
            found.push(finding(at, format!("{} characters, at most {LINE_CHARS_MAX}", line.len())));
        }
        at += line.len() + 1;
    }
    found
}

/// ASCII, but for the texts that unit tests are about.
fn ascii(file: &File, _: &Tree) -> Vec<Finding> {
    let is_bad = |at: &usize| !(file.text[*at].is_ascii() || file.class[*at] == Class::Text && file.is_test(*at));
    let bad = (0..file.text.len()).filter(is_bad);
    bad.map(|at| finding(at, format!("`{}` is not ASCII", file.text[at].escape_unicode()))).collect()
}

fn module_doc(file: &File, _: &Tree) -> Vec<Finding> {
    let has_doc = starts_with(&file.text, "//!");
    if has_doc { Vec::new() } else { vec![finding(0, "begins without a `//!` that says what it is for".into())] }
}

/// What is not done is not left in the code as a note.
fn unfinished(file: &File, _: &Tree) -> Vec<Finding> {
    let said: Vec<char> = file.blank(&[Class::Text]);
    let is_macro = |at: usize, word: &str| file.class[at] == Class::Code && said.get(at + word.len()) == Some(&'!');
    let is_bad = |at: usize, word: &str| match word {
        "TODO" | "FIXME" | "XXX" => true,
        "todo" | "unimplemented" => is_macro(at, word),
        _ => false,
    };
    words(&said).filter(|(at, word)| is_bad(*at, word)).map(|(at, word)| finding(at, format!("`{word}`"))).collect()
}

/// A relative link leads to a file that exists.
fn links(file: &File, tree: &Tree) -> Vec<Finding> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for (at, target) in link_targets(&file.text) {
        let path = target.split('#').next().unwrap_or_default().trim_end_matches('/');
        let is_elsewhere = target.contains("://") || target.starts_with("mailto:") || target.contains("::");
        if !path.is_empty() && !is_elsewhere && !tree.paths.contains(&resolve(folder, path)) {
            found.push(finding(at, format!("`{target}` leads nowhere")));
        }
    }
    found
}

fn machine_paths(file: &File, _: &Tree) -> Vec<Finding> {
    let hits = |&needle: &&'static str| {
        let places = (0..file.text.len()).filter(move |&at| starts_with(&file.text[at..], needle));
        places.map(move |at| finding(at, format!("`{needle}` is a path of somebody's machine")))
    };
    MACHINE_PATHS.iter().flat_map(hits).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// Rooms and paths

fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (room != "lib").then_some(room)
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// How many modules, this one included, stand between here and the root of the crate.
fn module_depth(file: &File, at: usize) -> usize {
    let folders = file.path.matches('/').count() - usize::from(file.path.ends_with("/mod.rs"));
    let modules = words(&file.code).take_while(|(start, _)| *start < at).filter(|(_, word)| word == "mod");
    folders + modules.filter(|(start, _)| body(&file.code, *start).is_some_and(|body| body.contains(&at))).count()
}

/// The first name of every path that begins with `crate::`, also of those in braces.
fn crate_paths(code: &[char]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in words(code).filter(|(_, word)| word == "crate") {
        if !starts_with(&code[at..], "crate::") {
            continue;
        }
        let start = at + "crate::".len();
        if code.get(start) != Some(&'{') {
            found.push((at, word_at(code, start)));
            continue;
        }
        let group = body(code, start).unwrap_or(start..code.len());
        let mut is_first = false;
        let mut level = 0;
        for index in group {
            match code[index] {
                '{' => (level, is_first) = (level + 1, level == 0),
                '}' => level -= 1,
                ',' => is_first = level == 1,
                c if is_first && !c.is_whitespace() => {
                    found.push((index, word_at(code, index)));
                    is_first = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// What `lib.rs` hands out, and from which room.
fn exports(lib: &File) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for (at, word) in words(&lib.code) {
        if word == "mod" && lib.code[..at].ends_with(&['p', 'u', 'b', ' ']) {
            let room = word_at(&lib.code, at + 4);
            exports.insert(room.clone(), room);
        }
        if word != "use" {
            continue;
        }
        let path: Vec<char> = lib.code[at + 3..].iter().copied().take_while(|&c| c != ';').collect();
        let mut path =
            words(&path).map(|(_, word)| word).filter(|word| !["crate", "self", "as"].contains(&word.as_str()));
        if let Some(room) = path.next().filter(|room| floor_of(room).is_some()) {
            exports.extend(path.map(|name| (name, room.clone())));
        }
    }
    exports
}

fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where the links of a page point: `[text](target "title")` and `[name]: target`, outside code.
fn link_targets(text: &[char]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let (mut at, mut in_fence) = (0, false);
    for line in text.split(|&c| c == '\n') {
        in_fence ^= starts_with(line.trim_start(), "```");
        let mut in_code = false;
        for index in 0..line.len() {
            in_code ^= line[index] == '`';
            let is_definition = starts_with(line, "[") && starts_with(&line[index..], "]: ");
            let is_link = starts_with(&line[index..], "](") || is_definition;
            if is_link && !in_code && !in_fence {
                let start = index + if is_definition { 3 } else { 2 };
                let target = line[start..].iter().take_while(|c| !matches!(c, ')' | ' ')).collect();
                found.push((at + index, target));
            }
        }
        at += line.len() + 1;
    }
    found
}

// ---------------------------------------------------------------------------------------------------------------------
// A little of Rust's grammar: enough to tell code from comments and texts, and to find the end of a block

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Code,
    Comment,
    Text,
}

struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: Vec<char>,
    class: Vec<Class>,
    /// The text with comments and string literals blanked.
    code: Vec<char>,
    tests: Vec<Range<usize>>,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let text: Vec<char> = text.chars().collect();
        let class = if is_rust(path) { classify(&text) } else { vec![Class::Text; text.len()] };
        let mut file = Self { path: path.to_owned(), text, class, code: Vec::new(), tests: Vec::new() };
        file.code = file.blank(&[Class::Comment, Class::Text]);
        file.tests = test_items(&file.code);
        // The laws are tests too, as code that others can call.
        if path.ends_with("/tests.rs") || path.ends_with("/laws.rs") || path.contains("/tests/") {
            file.tests.push(0..file.code.len());
        }
        file
    }

    fn blank(&self, classes: &[Class]) -> Vec<char> {
        let keep = |c: char, class: Class| if c == '\n' || !classes.contains(&class) { c } else { ' ' };
        self.text.iter().zip(&self.class).map(|(&c, &class)| keep(c, class)).collect()
    }

    fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }
}

#[derive(Default)]
struct Tree {
    paths: BTreeSet<String>,
    exports: BTreeMap<String, String>,
}

struct Finding {
    at: usize,
    what: String,
}

fn finding(at: usize, what: String) -> Finding {
    Finding { at, what }
}

fn classify(text: &[char]) -> Vec<Class> {
    let mut class = vec![Class::Code; text.len()];
    let mut at = 0;
    while at < text.len() {
        let is_word_start = at == 0 || !is_word(text[at - 1]) || matches!(text[at - 1], 'b' | 'c');
        let rest = &text[at..];
        let (kind, length) = match rest {
            ['/', '/', ..] => (Class::Comment, rest.iter().take_while(|&&c| c != '\n').count()),
            ['/', '*', ..] => (Class::Comment, block_comment(rest)),
            ['"', ..] => (Class::Text, quoted(rest)),
            ['\'', '\\', ..] => (Class::Text, quoted(rest)),
            ['\'', _, '\'', ..] => (Class::Text, 3),
            ['r', '"' | '#', ..] if is_word_start => raw(rest).map_or((Class::Code, 1), |length| (Class::Text, length)),
            _ => (Class::Code, 1),
        };
        let end = text.len().min(at + length);
        class[at..end].fill(kind);
        at = end;
    }
    class
}

fn block_comment(rest: &[char]) -> usize {
    let (mut at, mut level) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (level, at) = (level + 1, at + 2),
            ['*', '/', ..] if level == 1 => return at + 2,
            ['*', '/', ..] => (level, at) = (level - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != rest[0] {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of a raw string, or nothing for a raw identifier.
fn raw(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let start = hashes + 2;
    (rest.get(start - 1) == Some(&'"')).then_some(())?;
    (start..rest.len()).find(|&at| starts_with(&rest[at..], &end)).map(|at| at + end.len())
}

/// The items under `#[cfg(test)]`.
fn test_items(code: &[char]) -> Vec<Range<usize>> {
    let marks = ["#[cfg(test)]", "#[cfg(all(test,"];
    let starts = (0..code.len()).filter(|&at| marks.iter().any(|mark| starts_with(&code[at..], mark)));
    starts.filter_map(|at| body(code, at).map(|body| at..body.end)).collect()
}

/// The first block in braces from here on, unless the item ends without one.
fn body(code: &[char], from: usize) -> Option<Range<usize>> {
    let (mut start, mut braces, mut others) = (None, 0, 0);
    for (at, c) in code.iter().enumerate().skip(from) {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            ';' if others == 0 && braces == 0 => return None,
            '{' => {
                start = start.or(Some(at));
                braces += 1;
            }
            '}' if braces == 1 => return start.map(|start| start..at + 1),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_at(code: &[char], at: usize) -> String {
    code.iter().skip(at).take_while(|&&c| is_word(c)).collect()
}

fn words(code: &[char]) -> impl Iterator<Item = (usize, String)> {
    let is_start = |&at: &usize| is_word(code[at]) && (at == 0 || !is_word(code[at - 1]));
    (0..code.len()).filter(is_start).map(|at| (at, word_at(code, at)))
}

fn starts_with(text: &[char], prefix: &str) -> bool {
    let mut text = text.iter();
    prefix.chars().all(|c| text.next() == Some(&c))
}

trait TrimStart {
    fn trim_start(&self) -> &Self;
}

impl TrimStart for [char] {
    fn trim_start(&self) -> &Self {
        &self[self.iter().take_while(|c| c.is_whitespace()).count()..]
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The tree

/// Everything that people write. What programs write (builds, corpora, golden bytes) is not looked into.
fn read_tree(root: &Path) -> (Vec<File>, Tree) {
    let (mut files, mut tree) = (Vec::new(), Tree::default());
    walk(root, "", &mut files, &mut tree.paths);
    if let Some(lib) = files.iter().find(|file| file.path == "src/lib.rs") {
        tree.exports = exports(lib);
    }
    (files, tree)
}

fn walk(root: &Path, folder: &str, files: &mut Vec<File>, paths: &mut BTreeSet<String>) {
    let skipped = [".git", "target", "corpus", "artifacts", "fixtures", "profiledb-data"];
    let written = [".rs", ".md", ".toml", ".sh", ".yml", ".yaml", "Makefile", ".ci/run", ".gitignore"];
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            if !skipped.contains(&name.as_str()) {
                walk(root, &path, files, paths);
            }
        } else if written.iter().any(|end| path.ends_with(end)) {
            files.push(File::new(&path, &fs::read_to_string(entry.path()).unwrap()));
        }
        paths.insert(path);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The rules are rules

/// A rule, a file, its text, and how often the rule must speak up.
#[rustfmt::skip]
const PLANTED: &[(&str, &str, &str, usize)] = &[
    ("floors", "src/model/key.rs", "use crate::error::Error;\nfn f() -> crate::Limits { crate::limits::f() }", 0),
    ("floors", "src/model/key.rs", "use crate::ops::Op;", 1),
    ("floors", "src/model/key.rs", "fn f() { crate::ops::apply() }", 1),
    ("floors", "src/model/key.rs", "fn f(_: crate::Update) {}", 1),
    ("floors", "src/model/key.rs", "use crate::{\n    error::{Error, Result},\n    model::Value,\n    ops::Op,\n};", 1),
    ("floors", "src/model/key.rs", "//! use crate::ops::Op;\n// [`U`](crate::Update)\nfn f() { g(\"crate::ops\") }", 0),
    ("floors", "src/model/key.rs", "use crate::nowhere::X;", 1),
    ("floors", "src/codec/row.rs", "use crate::ingest::engage;", 1),
    ("floors", "src/codec/row.rs", "use crate::codec::bytes;\nuse crate::{ops, model};\nuse super::bytes;", 0),
    ("floors", "src/store/read.rs", "use crate::log::cursor;", 1),
    ("floors", "src/error.rs", "use super::model::Value;", 1),
    ("floors", "src/ops/mod.rs", "use super::model::Value;", 1),
    ("floors", "src/ops/mod.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}", 0),
    ("floors", "src/ops/mod.rs", "mod op;\npub(super) fn f() { super::model::g() }", 1),
    ("floors", "src/ops/op.rs", "use super::super::model::Value;", 1),
    ("floors", "src/ops/op.rs", "use super::apply;\nmod tests {\n    use super::super::apply;\n}", 0),
    ("floors", "src/ops/tests/op.rs", "use super::super::apply;", 0),
    ("floors", "src/ops/tests/op.rs", "use super::super::super::model::Value;", 1),
    ("floors", "src/attic/mod.rs", "", 1),
    ("floors", "src/server/mod.rs", "use crate::{Update, merge};", 0),
    ("floors", "src/model/key.rs", "use crate::merge::full;", 1),
    ("floors", "src/server/mod.rs", "use crate::ops::Update;", 1),
    ("floors", "src/bin/profiledb/main.rs", "use crate::arguments::Arguments;", 0),
    ("floors", "src/lib.rs", "pub use crate::db::Db;", 0),
    ("doors", "src/rocks/open.rs", "use rocksdb::DB;", 0),
    ("doors", "src/store/read.rs", "use rocksdb::DB;", 1),
    ("doors", "src/store/read.rs", "// not rocksdb::DB\n#[cfg(feature = \"rocksdb\")]\nfn from_rocksdb() {}", 0),
    ("doors", "src/store/read.rs", "#[cfg(test)]\nmod tests {\n    use rocksdb::DB;\n}", 1),
    ("doors", "src/codec/row.rs", "use bincode::Encode;", 0),
    ("doors", "src/merge/full.rs", "fn f() { bincode::encode() }", 1),
    ("doors", "src/ops/op.rs", "use serde_json::Value;", 1),
    ("doors", "src/ops/op.rs", "#[cfg(test)]\nmod tests {\n    use serde_json::Value;\n}", 0),
    ("doors", "src/ops/laws.rs", "use serde_json::Value;", 0),
    ("globs", "src/ops/mod.rs", "pub(crate) use op::*;", 1),
    ("globs", "src/ops/mod.rs", "pub use op::{Op, Update};\n#[cfg(test)]\nmod tests {\n    use super::*;\n}", 0),
    ("names", "src/codec/utils.rs", "", 1),
    ("names", "src/common/mod.rs", "", 1),
    ("names", "src/codec/bytes.rs", "", 0),
    ("ascii", "src/a.rs", "// a \u{2013} b", 1),
    ("ascii", "src/a.rs", "fn f() { g(\"\u{fc}\") }", 1),
    ("ascii", "src/a.rs", "#[cfg(test)]\nmod tests {\n    fn f() { g(\"\u{fc}\", '\u{fc}') }\n}", 0),
    ("ascii", "src/a.rs", "#[cfg(test)]\nmod tests {\n    // \u{fc}\n}", 1),
    ("module-doc", "src/a.rs", "use std::fmt;", 1),
    ("module-doc", "src/a.rs", "//! A noun.", 0),
    ("module-doc", "benches/merge.rs", "fn main() {}", 1),
    ("module-doc", "fuzz/fuzz_targets/merge_grouping.rs", "#![no_main]", 1),
    ("unfinished", "src/a.rs", "// TODO: later", 1),
    ("unfinished", "tests/a.rs", "fn f() {} // FIXME, XXX", 2),
    ("unfinished", "src/a.rs", "fn f() { todo!() }\nfn g() { unimplemented!(\"\") }", 2),
    ("unfinished", "src/a.rs", "// deny(clippy::todo), mastodon\nfn f() { g(\"TODO\") }", 0),
    ("links", "README.md", "[a](docs/FORMAT.md#rows) [b](https://x.org/y) [c](#d) `[e](f.md)`\n```\n[g](h.md)\n```", 0),
    ("links", "README.md", "See [the format](docs/FORMATS.md).", 1),
    ("links", "docs/FORMAT.md", "[up](../README.md) [down](README.md)\n\n[d]: ../gone.md", 2),
    ("machine-paths", "docs/FORMAT.md", concat!("as in /wo", "rk/x and /ho", "me/me"), 2),
    ("machine-paths", "src/a.rs", concat!("fn f() { g(\"../sh", "ared/x\", \"/ro", "ot/\") }"), 2),
    ("machine-paths", "src/a.rs", "// a framework/library, the root/ of a tree", 0),
];

fn planted_tree() -> Tree {
    let lib =
        File::new("src/lib.rs", "mod error;\npub mod merge;\npub use limits::{Limits, MAX};\npub use ops::Update;");
    let paths = ["README.md", "docs", "docs/FORMAT.md"].map(str::to_owned);
    Tree { paths: paths.into(), exports: exports(&lib) }
}

/// How often this rule speaks up about this file.
fn count(rule: &str, path: &str, text: &str) -> usize {
    let spoken = check(&File::new(path, text), &planted_tree());
    spoken.iter().filter(|finding| finding.contains(&format!(": {rule}: "))).count()
}

#[test]
fn rules_catch_what_was_planted_and_nothing_else() {
    for (rule, path, text, expected) in PLANTED {
        assert_eq!(count(rule, path, text), *expected, "{rule}: {path}: {text}");
    }
}

#[test]
fn sizes_are_counted_to_the_line() {
    let file = |lines| "//! x\n".repeat(lines);
    assert_eq!(count("file-size", "src/a.rs", &file(FILE_LINES_MAX)), 0);
    assert_eq!(count("file-size", "src/a.rs", &file(FILE_LINES_MAX + 1)), 1);

    let function = |lines: usize| format!("fn f(x: [u8; 3]) {{\n{}}}\n", "    { \"}\"; '{'; }\n".repeat(lines - 2));
    let in_tests = |lines| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(lines));
    assert_eq!(count("function-size", "src/a.rs", &function(FUNCTION_LINES_MAX)), 0);
    assert_eq!(count("function-size", "src/a.rs", &function(FUNCTION_LINES_MAX + 1)), 1);
    assert_eq!(count("function-size", "src/a.rs", &in_tests(FUNCTION_LINES_MAX + 1)), 0);

    let line = |chars| format!("//{}", "-".repeat(chars - 2));
    assert_eq!(count("line-width", "src/a.rs", &line(LINE_CHARS_MAX)), 0);
    assert_eq!(count("line-width", "src/a.rs", &line(LINE_CHARS_MAX + 1)), 1);
}

#[test]
fn every_rule_has_been_seen_to_bite() {
    let sizes = ["file-size", "function-size", "line-width"];
    for rule in RULES {
        let is_planted = PLANTED.iter().any(|(name, .., expected)| name == &rule.name && *expected > 0);
        assert!(is_planted || sizes.contains(&rule.name), "{} has no planted violation", rule.name);
    }
}

#[test]
fn code_is_told_from_comments_and_texts() {
    let text = r####"a('"') /* b /* c */ d */ e("f\"g", r#"h"i"#, br"j") k<'l>(r#m, b'\'', '\u{41}') // n"####;
    let code: String = File::new("src/a.rs", text).code.iter().filter(|c| !c.is_whitespace()).collect();
    assert_eq!(code, "a()e(,,b)k<'l>(r#m,b,)");
}
