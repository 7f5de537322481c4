//! The rules of the house, as a test, so that they hold without anyone remembering.
//!
//! `RULES` is the list. Each rule is a function from one file to what is wrong with it, and `PLANTED` shows each rule
//! violations that it must catch and neighbors that it must let pass. Rust is read as the tokens of `proc_macro2`, so
//! that comments, literals and the bodies of macros are told apart. A new room goes onto its floor in `FLOORS`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The rooms of `src/`, from the ground up. A room sees itself and the floors below it, nothing else.
const FLOORS: &[&[&str]] = &[
    &["error", "limits"],
    &["model"],
    &["ops"],
    &["arrow", "codec", "expr", "ingest"],
    &["merge", "segment"],
    &["join"],
    &["rocks"],
    &["store", "log"],
    &["db"],
    &["bin", "server"],
];

/// Names that may be used in certain rooms or files only, most of them crates. Unit tests may name those marked so.
const DOORS: &[(&str, &[&str], bool)] = &[
    ("rocksdb", &["src/rocks/"], false),
    ("bincode", &["src/codec/"], false),
    // A hash without a seed: of keys that are stored, and where no hash table depends on it. Strings of the input can
    // be made to collide in it.
    ("xxh3_64", &["src/codec/event.rs", "src/codec/texts.rs", "src/limits.rs", "src/ops/list.rs"], true),
    ("serde_json", &["src/model/", "src/ops/admit.rs", "src/ingest/", "src/bin/", "src/server/"], true),
];

const FILE_LINES_MAX: usize = 700;
const LINE_CHARS_MAX: usize = 120;

/// Types that hold each other are one noun in two files.
const RECURSIVE: &[[&str; 2]] = &[["src/model/object.rs", "src/model/value.rs"]];

/// Words that once meant something in this project only. The field has its own for each.
const PRIVATE_WORDS: &[&str] = &[
    "wanted",
    "nobody",
    "patience",
    "leapt",
    "leaps",
    "blame",
    "blames",
    "doubt",
    "beside",
    "whoever",
    "so many",
    "asked for",
    "passed over",
    "comes to",
    "stands",
];

/// Written in two halves, so that this file does not break its own rule.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("../sh", "ared")];

struct Rule {
    name: &'static str,
    applies: fn(&str) -> bool,
    check: fn(&File, &Tree) -> Vec<Finding>,
}

const RULES: &[Rule] = &[
    Rule { name: "tokens", applies: is_rust, check: tokens },
    Rule { name: "floors", applies: is_src, check: floors },
    Rule { name: "doors", applies: is_src, check: doors },
    Rule { name: "circles", applies: is_src, check: circles },
    Rule { name: "type-homes", applies: is_src, check: type_homes },
    Rule { name: "globs", applies: is_src, check: globs },
    Rule { name: "names", applies: is_src, check: names },
    Rule { name: "file-size", applies: is_src, check: file_size },
    Rule { name: "line-width", applies: is_rust, check: line_width },
    Rule { name: "ascii", applies: is_src, check: ascii },
    Rule { name: "module-doc", applies: needs_doc, check: module_doc },
    Rule { name: "plain-words", applies: is_prose, check: plain_words },
    Rule { name: "unfinished", applies: is_rust, check: unfinished },
    Rule { name: "links", applies: is_page, check: links },
    Rule { name: "machine-paths", applies: |_| true, check: machine_paths },
];

#[test]
fn the_tree_is_tidy() {
    let files = read_files(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the walk found no src/lib.rs");
    let tree = Tree::new(&files);
    let findings: Vec<String> = files.iter().flat_map(|file| check(file, &tree)).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn check(file: &File, tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| (rule.applies)(&file.path)) {
        for Finding { at, what } in (rule.check)(file, tree) {
            let line = 1 + file.text[..at].matches('\n').count();
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
    path.ends_with(".md") && (path.starts_with("docs/") || path.starts_with("fuzz/") || !path.contains('/'))
}

fn is_prose(path: &str) -> bool {
    is_src(path) || is_page(path)
}

/// Laws are tests too, as code that others can call.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("/laws.rs") || path.contains("/tests/")
}

// ---------------------------------------------------------------------------------------------------------------------
// The rules

/// What cannot be read cannot be checked.
fn tokens(file: &File, _: &Tree) -> Vec<Finding> {
    if file.is_read { Vec::new() } else { vec![finding(0, "is not Rust".into())] }
}

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
    for path in &file.paths {
        // `super` could climb out of a room without naming the one it enters.
        let climbs = path.climbs();
        if climbs > 0 && climbs >= path.modules + module_of(&file.path).matches("::").count() {
            found.push(finding(path.at, "`super` leaves the room here: say `crate::`".into()));
        }
        let [root, name, ..] = &path.names[..] else { continue };
        if root != "crate" {
            continue;
        }
        let exported = tree.exports.get(name);
        let room = exported.unwrap_or(name).as_str();
        match floor_of(room) {
            None => found.push(finding(path.at, format!("`crate::{name}` is neither a room nor exported by lib.rs"))),
            Some(_) if room == here => {}
            Some(_) if floor + 1 == FLOORS.len() && exported.is_none() => {
                let what = format!("`{here}` speaks only the public API, and `crate::{name}` is a room");
                found.push(finding(path.at, what));
            }
            Some(below) if below < floor => {}
            Some(_) => found.push(finding(path.at, format!("`{here}` must not see `{room}`: arrows go down only"))),
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
        for token in file.tokens.iter().filter(|token| token.text == *name && !(*in_tests && token.is_test)) {
            found.push(finding(token.at.start, format!("`{name}` is for {} only", allowed.join(" "))));
        }
    }
    found
}

/// Files of a room import each other in one direction. What a `mod.rs` re-exports counts for the file that has it.
fn circles(file: &File, tree: &Tree) -> Vec<Finding> {
    // Breadth first, so that the circle shown is a shortest one. It is shown in its first file.
    let mut came_from = BTreeMap::new();
    let mut queue = vec![file.path.as_str()];
    let mut next = 0;
    while let Some(&here) = queue.get(next) {
        next += 1;
        for there in tree.imports.get(here).into_iter().flatten() {
            if !came_from.contains_key(there.as_str()) {
                came_from.insert(there.as_str(), here);
                queue.push(there);
            }
        }
    }
    let mut circle = vec![file.path.as_str()];
    while let Some(&before) = came_from.get(circle[circle.len() - 1]) {
        circle.push(before);
        if before == file.path {
            circle.reverse();
            let is_first = circle.iter().min() == Some(&before);
            return if is_first { vec![finding(0, circle.join(" > "))] } else { Vec::new() };
        }
    }
    Vec::new()
}

/// A type's name means one thing in the whole crate.
fn type_homes(file: &File, tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, name) in file.types() {
        let others: Vec<_> = tree.types.get(name).into_iter().flatten().filter(|other| **other != file.path).collect();
        let twice_here = file.types().filter(|(_, other)| *other == name).count() > 1;
        if twice_here || !others.is_empty() {
            found.push(finding(at, format!("`{name}` is defined here and in {others:?}")));
        }
    }
    found
}

/// A room's front says what it hands out, name by name.
fn globs(file: &File, _: &Tree) -> Vec<Finding> {
    let globs = file.paths.iter().filter(|path| path.is_exported && path.names.last().is_some_and(|name| name == "*"));
    globs.map(|path| finding(path.at, "a glob re-export: list the names".into())).collect()
}

/// A file is one noun.
fn names(file: &File, _: &Tree) -> Vec<Finding> {
    let drawers = ["util", "utils", "common", "helper", "helpers", "misc"];
    let parts = file.path.split('/').map(|part| part.trim_end_matches(".rs"));
    let bad = parts.filter(|part| drawers.contains(part));
    bad.map(|part| finding(0, format!("`{part}` is a drawer: name the file for what it holds"))).collect()
}

fn file_size(file: &File, _: &Tree) -> Vec<Finding> {
    let lines = file.text.lines().count();
    let what = format!("{lines} lines, at most {FILE_LINES_MAX}");
    if lines > FILE_LINES_MAX { vec![finding(file.text.len(), what)] } else { Vec::new() }
}

/// rustfmt leaves long literals and comments alone.
fn line_width(file: &File, _: &Tree) -> Vec<Finding> {
    let mut at = 0;
    let mut found = Vec::new();
    for line in file.text.split('\n') {
        let chars = line.chars().count();
        if chars > LINE_CHARS_MAX {
            found.push(finding(at, format!("{chars} characters, at most {LINE_CHARS_MAX}")));
        }
        at += line.len() + 1;
    }
    found
}

/// ASCII, but for the texts that unit tests are about.
fn ascii(file: &File, _: &Tree) -> Vec<Finding> {
    let is_allowed = |at| file.literals().any(|token| token.is_test && token.at.contains(&at));
    let bad = file.text.char_indices().filter(|&(at, c)| !c.is_ascii() && !is_allowed(at));
    bad.map(|(at, c)| finding(at, format!("`{}` is not ASCII", c.escape_unicode()))).collect()
}

fn module_doc(file: &File, _: &Tree) -> Vec<Finding> {
    let has_doc = file.text.starts_with("//!");
    if has_doc { Vec::new() } else { vec![finding(0, "begins without a `//!` that says what it is for".into())] }
}

/// Comments, messages and pages say it as the field says it.
fn plain_words(file: &File, _: &Tree) -> Vec<Finding> {
    let text = file.prose().to_lowercase();
    let is_whole = |at: usize, word: &str| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    };
    let hits = |word: &&'static str| {
        let word = *word;
        let places = text.match_indices(word).filter(|(at, _)| is_whole(*at, word)).collect::<Vec<_>>();
        places.into_iter().map(move |(at, _)| finding(at, format!("`{word}`: the field says it otherwise")))
    };
    PRIVATE_WORDS.iter().flat_map(hits).collect()
}

/// What is not done is not left in the code as a note.
fn unfinished(file: &File, _: &Tree) -> Vec<Finding> {
    let text = file.without(|token| token.is_literal);
    let notes = words(&text).filter(|(_, word)| ["TODO", "FIXME", "XXX"].contains(word));
    let is_macro = |pair: &&[Token]| ["todo", "unimplemented"].contains(&&*pair[0].text) && pair[1].text == "!";
    let macros = file.tokens.windows(2).filter(is_macro).map(|pair| (pair[0].at.start, pair[0].text.as_str()));
    notes.chain(macros).map(|(at, word)| finding(at, format!("`{word}`"))).collect()
}

/// A relative link leads to a file that exists.
fn links(file: &File, tree: &Tree) -> Vec<Finding> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for (at, target) in link_targets(&file.text) {
        let path = target.split('#').next().unwrap_or_default().trim_end_matches('/');
        let is_elsewhere = target.contains("://") || target.starts_with("mailto:") || target.contains("::");
        if !path.is_empty() && !is_elsewhere && !tree.paths.contains(&relative(folder, path)) {
            found.push(finding(at, format!("`{target}` leads nowhere")));
        }
    }
    found
}

fn machine_paths(file: &File, _: &Tree) -> Vec<Finding> {
    let hits = |needle: &&'static str| {
        let needle = *needle;
        let places = file.text.match_indices(needle);
        places.map(move |(at, _)| finding(at, format!("`{needle}` is a path of somebody's machine")))
    };
    MACHINE_PATHS.iter().flat_map(hits).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// Rooms and modules

fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (room != "lib").then_some(room)
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// `src/join/plan.rs` is `::join::plan`, `src/join/mod.rs` is `::join`, `src/lib.rs` is nothing.
fn module_of(path: &str) -> String {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let parts = inside.split('/').filter(|part| !["lib", "main", "mod"].contains(part));
    parts.flat_map(|part| ["::", part]).collect()
}

/// What the rules know about all files together.
#[derive(Default)]
struct Tree {
    paths: BTreeSet<String>,
    /// What `lib.rs` hands out, and from which room.
    exports: BTreeMap<String, String>,
    /// Where a name of a type is defined.
    types: BTreeMap<String, BTreeSet<String>>,
    /// Which files of its room a file imports from.
    imports: BTreeMap<String, BTreeSet<String>>,
}

impl Tree {
    fn new(files: &[File]) -> Self {
        let mut tree = Self::default();
        for file in files {
            let folders = file.path.match_indices('/').map(|(at, _)| file.path[..at].to_owned());
            tree.paths.extend(folders.chain([file.path.clone()]));
            for (_, name) in file.types().filter(|_| is_src(&file.path)) {
                tree.types.entry(name.to_owned()).or_default().insert(file.path.clone());
            }
        }
        if let Some(lib) = files.iter().find(|file| file.path == "src/lib.rs") {
            tree.exports = exports(lib);
        }
        let modules: BTreeMap<String, &File> =
            files.iter().filter(|file| is_src(&file.path)).map(|file| (module_of(&file.path), file)).collect();
        for file in modules.values().filter(|file| room_of(&file.path).is_some() && !is_test_file(&file.path)) {
            for path in file.paths.iter().filter(|path| !path.is_test && !path.is_exported && path.names.len() > 1) {
                if let Some(there) = home(file, path, &modules, 0).filter(|there| {
                    let is_recursive = RECURSIVE.contains(&[&file.path, &there.path]);
                    let is_here = there.path != file.path && room_of(&there.path) == room_of(&file.path);
                    is_here && !is_recursive && !is_test_file(&there.path)
                }) {
                    tree.imports.entry(file.path.clone()).or_default().insert(there.path.clone());
                }
            }
        }
        tree
    }
}

/// The file that holds what a path names, looked for through re-exports.
fn home<'a>(file: &File, path: &UsedPath, modules: &BTreeMap<String, &'a File>, depth: usize) -> Option<&'a File> {
    let module = module_of(&file.path);
    let climbs = path.names.iter().take_while(|name| *name == "super").count();
    let (mut here, rest) = match path.names[0].as_str() {
        "crate" if module.starts_with("::bin") => ("::bin::profiledb".to_owned(), &path.names[1..]),
        "crate" => (String::new(), &path.names[1..]),
        "self" => (module, &path.names[1..]),
        "super" => {
            let up = climbs.saturating_sub(path.modules);
            let parts: Vec<&str> = module.split("::").skip(1).collect();
            (
                parts[..parts.len().checked_sub(up)?].iter().flat_map(|part| ["::", part]).collect(),
                &path.names[climbs..],
            )
        }
        // A bare name is that of a module below, or nothing of ours.
        child => (modules.contains_key(&format!("{module}::{child}")).then_some(module)?, &path.names[..]),
    };
    let inside = |here: &str, name: &String| format!("{here}::{name}");
    let steps = rest.iter().take_while(|name| {
        let is_module = modules.contains_key(&inside(&here, name));
        if is_module {
            here = inside(&here, name);
        }
        is_module
    });
    let named = rest.get(steps.count());
    let there = *modules.get(&here)?;
    let exported = named.and_then(|name| there.paths.iter().find(|path| path.modules == 0 && path.brings(name)));
    exported.filter(|_| depth < 8).and_then(|path| home(there, path, modules, depth + 1)).or(Some(there))
}

fn exports(lib: &File) -> BTreeMap<String, String> {
    let public = lib.tokens.windows(3).filter(|three| three[0].text == "pub" && three[1].text == "mod");
    let mut exports: BTreeMap<_, _> = public.map(|three| (three[2].text.clone(), three[2].text.clone())).collect();
    for path in lib.paths.iter().filter(|path| path.is_exported) {
        let names = path.names.iter().filter(|name| *name != "crate").collect::<Vec<_>>();
        if let [room, .., name] = names[..] {
            exports.insert(path.alias.as_ref().unwrap_or(name).clone(), room.clone());
        }
    }
    exports
}

fn relative(folder: &str, path: &str) -> String {
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
fn link_targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut start, mut in_fence) = (0, false);
    for line in text.split('\n') {
        in_fence ^= line.trim_start().starts_with("```");
        let mut in_code = false;
        for (at, c) in line.char_indices() {
            in_code ^= c == '`';
            let target = match &line[at..] {
                rest if line.starts_with('[') && rest.starts_with("]: ") => &rest[3..],
                rest if rest.starts_with("](") => &rest[2..],
                _ => continue,
            };
            if !in_code && !in_fence {
                found.push((start + at, target.split([')', ' ']).next().unwrap_or_default()));
            }
        }
        start += line.len() + 1;
    }
    found
}

// ---------------------------------------------------------------------------------------------------------------------
// A file as tokens

struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
    is_read: bool,
    tokens: Vec<Token>,
    paths: Vec<UsedPath>,
}

/// A word, a sign, a literal, or the beginning or end of a group. Comments are what lies between.
struct Token {
    text: String,
    at: Range<usize>,
    is_literal: bool,
    is_test: bool,
    /// How many modules of this file are around it, and whether anything else is.
    modules: usize,
    is_inside: bool,
}

/// `a::b::c` with everything that is known about it. Those in braces are one each.
struct UsedPath {
    at: usize,
    names: Vec<String>,
    alias: Option<String>,
    is_use: bool,
    is_exported: bool,
    is_test: bool,
    modules: usize,
}

impl UsedPath {
    fn climbs(&self) -> usize {
        self.names.iter().take(self.names.len() - 1).take_while(|name| *name == "super").count()
    }

    fn brings(&self, name: &String) -> bool {
        self.is_use && self.names.len() > 1 && self.alias.as_ref().or(self.names.last()) == Some(name)
    }
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let mut file =
            Self { path: path.into(), text: text.into(), is_read: true, tokens: Vec::new(), paths: Vec::new() };
        if is_rust(path) {
            let stream = text.parse::<TokenStream>();
            file.is_read = stream.is_ok();
            file.read(stream.unwrap_or_default(), 0, false, is_test_file(path));
            file.paths = used_paths(&file.tokens);
        }
        file
    }

    fn read(&mut self, stream: TokenStream, modules: usize, is_inside: bool, is_test: bool) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        // From `#[cfg(test)]` to the end of the item.
        let mut is_test_item = false;
        for (index, tree) in trees.iter().enumerate() {
            let at = tree.span().byte_range();
            if self.text[at.clone()].starts_with("//") || self.text[at.clone()].starts_with("/*") {
                continue; // A doc comment, which arrives as an attribute.
            }
            is_test_item |= is_test_mark(tree);
            let is_test = is_test || is_test_item;
            let mut push = |text: String, at: Range<usize>| {
                let is_literal = matches!(tree, TokenTree::Literal(_));
                self.tokens.push(Token { text, at, is_literal, is_test, modules, is_inside });
            };
            let TokenTree::Group(group) = tree else {
                push(tree.to_string(), at);
                is_test_item &= tree.to_string() != ";";
                continue;
            };
            let (open, close) = match group.delimiter() {
                Delimiter::Brace => ("{", "}"),
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::None => ("", ""),
            };
            push(open.into(), group.span_open().byte_range());
            let is_module =
                open == "{" && index >= 2 && matches!(&trees[index - 2], TokenTree::Ident(word) if word == "mod");
            self.read(group.stream(), modules + usize::from(is_module), is_inside || !is_module, is_test);
            let at = group.span_close().byte_range();
            self.tokens.push(Token { text: close.into(), at, is_literal: false, is_test, modules, is_inside });
            is_test_item &= open != "{";
        }
    }

    fn literals(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|token| token.is_literal)
    }

    /// The types that are defined here outside tests and functions, and where.
    fn types(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_type = |word: &str| ["struct", "enum", "trait", "type", "union"].contains(&word);
        let pairs = self.tokens.windows(2).filter(move |pair| is_type(&pair[0].text) && !pair[0].is_inside);
        pairs.filter(|pair| !pair[0].is_test).map(|pair| (pair[1].at.start, pair[1].text.as_str()))
    }

    /// The text with some tokens blanked.
    fn without(&self, is_blank: impl Fn(&Token) -> bool) -> String {
        let mut bytes = self.text.clone().into_bytes();
        for token in self.tokens.iter().filter(|token| is_blank(token)) {
            bytes[token.at.clone()].fill(b' ');
        }
        String::from_utf8(bytes).unwrap()
    }

    /// What people read: pages, comments, and messages outside tests.
    fn prose(&self) -> String {
        self.without(|token| !token.is_literal || token.is_test)
    }
}

/// `#[cfg(test)]`, `#[cfg(all(test, ..))]`.
fn is_test_mark(tree: &TokenTree) -> bool {
    let TokenTree::Group(group) = tree else { return false };
    let text = || tree.to_string().replace(' ', "");
    group.delimiter() == Delimiter::Bracket
        && ["[cfg(test)", "[cfg(all(test,"].iter().any(|mark| text().starts_with(mark))
}

fn used_paths(tokens: &[Token]) -> Vec<UsedPath> {
    let mut found = Vec::new();
    let (mut at, mut is_use, mut is_exported) = (0, false, false);
    while let Some(token) = tokens.get(at) {
        if token.text == ";" {
            (is_use, is_exported) = (false, false);
        } else if token.text == "use" {
            let before = at.checked_sub(1).map(|before| tokens[before].text.as_str());
            (is_use, is_exported) = (true, matches!(before, Some("pub" | ")")));
        } else if token.text.starts_with(is_word) && !token.is_literal {
            let start = UsedPath {
                at: token.at.start,
                names: Vec::new(),
                alias: None,
                is_use,
                is_exported,
                is_test: token.is_test,
                modules: token.modules,
            };
            at = used_path(tokens, at, start, &mut found);
            continue;
        }
        at += 1;
    }
    found
}

/// Reads one path from `at` on, or what braces hold. Returns where to go on, which is always further on.
fn used_path(tokens: &[Token], mut at: usize, mut path: UsedPath, found: &mut Vec<UsedPath>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    loop {
        if text(at) == "{" {
            at += 1;
            while !["}", ""].contains(&text(at)) {
                let start = UsedPath { at: tokens[at].at.start, names: path.names.clone(), alias: None, ..path };
                at = if text(at) == "," { at + 1 } else { used_path(tokens, at, start, found) };
            }
            return at + 1;
        }
        path.names.push(text(at).to_owned());
        at += 1;
        if [text(at), text(at + 1)] == [":", ":"]
            && (text(at + 2).starts_with(is_word) || ["{", "*"].contains(&text(at + 2)))
        {
            at += 2;
            continue;
        }
        if text(at) == "as" && path.is_use {
            path.alias = Some(text(at + 1).to_owned());
            at += 2;
        }
        found.push(path);
        return at;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(|c| !is_word(c)).filter_map(move |word| {
        let start = at;
        at += word.len() + text[at + word.len()..].chars().next().map_or(0, char::len_utf8);
        (!word.is_empty()).then_some((start, word))
    })
}

struct Finding {
    at: usize,
    what: String,
}

fn finding(at: usize, what: String) -> Finding {
    Finding { at, what }
}

// ---------------------------------------------------------------------------------------------------------------------
// The tree

/// Everything that people write. What programs write (builds, corpora, golden bytes) is not looked into.
fn read_files(root: &Path) -> Vec<File> {
    let mut files = Vec::new();
    walk(root, "", &mut files);
    files
}

fn walk(root: &Path, folder: &str, files: &mut Vec<File>) {
    let skipped = [".git", "target", "corpus", "artifacts", "profiledb-data"];
    let written = [".rs", ".md", ".toml", ".sh", ".yml", ".yaml", "Makefile", ".ci/run", ".gitignore"];
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            if !skipped.contains(&name.as_str()) {
                walk(root, &path, files);
            }
        } else {
            let is_written = written.iter().any(|end| path.ends_with(end)) && !path.contains("/fixtures/");
            let text = if is_written { fs::read_to_string(entry.path()).unwrap() } else { String::new() };
            files.push(File::new(&path, &text));
        }
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
    ("doors", "src/join/cache.rs", "use xxhash_rust::xxh3::xxh3_64;", 1),
    ("doors", "src/join/cache.rs", "use xxhash_rust::xxh3::xxh3_64_with_seed;", 0),
    ("doors", "src/ops/op.rs", "use serde_json::Value;", 1),
    ("doors", "src/ops/op.rs", "#[cfg(test)]\nmod tests {\n    use serde_json::Value;\n}", 0),
    ("doors", "src/ops/laws.rs", "use serde_json::Value;", 0),
    ("floors", "src/ops/op.rs", "fn f() { g!(crate::merge::full) }", 1),
    ("circles", "src/join/plan.rs", "use super::query::Query;", 1),
    ("circles", "src/join/plan.rs", "fn f() { super::query::g() }", 1),
    ("circles", "src/join/plan.rs", "use super::Query;", 1),
    ("circles", "src/join/plan.rs", "use super::{Answer as A, error::E};", 0),
    ("circles", "src/join/plan.rs", "use crate::join::{answer::Answer, query::{self, Q}};", 1),
    ("circles", "src/join/plan.rs", "#[cfg(test)]\nmod t {\n    use super::super::query::Query;\n}", 0),
    ("circles", "src/join/plan.rs", "mod inner {\n    use super::super::query::Query;\n}", 1),
    ("circles", "src/join/plan.rs", "use super::later;", 0),
    ("circles", "src/join/mod.rs", "mod answer;\nmod query;\npub use query::Query;", 0),
    ("circles", "src/join/answer.rs", "use super::front;", 0),
    ("circles", "src/join/answer.rs", "use super::{plan, front};\nuse super::Query;", 1),
    ("circles", "src/bin/profiledb/args.rs", "use crate::print::Style;", 1),
    ("type-homes", "src/merge/rows.rs", "pub(crate) struct Rows;", 1),
    ("type-homes", "src/merge/rows.rs", "enum Rows {}\ntype Answer = u8;\nuse crate::join::Query;", 2),
    ("type-homes", "src/merge/rows.rs", "mod inner {\n    trait Query {}\n}", 1),
    ("type-homes", "src/merge/rows.rs", "struct Twice;\nmod inner {\n    struct Twice;\n}", 2),
    ("type-homes", "src/merge/rows.rs", "fn f() { struct Rows; }\nimpl T for U { type Rows = u8; }\nstruct Row;", 0),
    ("type-homes", "src/merge/rows.rs", "#[cfg(test)]\nmod tests {\n    struct Rows;\n}", 0),
    ("type-homes", "src/join/tests/rows.rs", "struct Rows;", 0),
    ("globs", "src/ops/mod.rs", "pub(crate) use op::*;", 1),
    ("globs", "src/ops/mod.rs", "pub use op::{self, parts::{Op, *}};", 1),
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
    ("plain-words", "src/a.rs", "//! The rows wanted.\n/// Asked for by nobody.\nfn wanted() { f(\"so many\") }", 4),
    ("plain-words", "src/a.rs", "// unwanted, wanted_rows\n#[cfg(test)]\nmod t {\n    fn f() { g(\"nobody\") }\n}", 0),
    ("plain-words", "docs/FORMAT.md", "A fence stands beside it.", 2),
    ("tokens", "src/a.rs", "fn f() {", 1),
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

/// How often this rule speaks up about this file, in a small tree.
fn count(rule: &str, path: &str, text: &str) -> usize {
    let around = [
        ("src/lib.rs", "mod error;\npub mod merge;\npub use limits::{Limits, MAX};\npub use ops::Update;"),
        ("src/join/mod.rs", "mod answer;\nmod query;\npub use answer::Answer;\npub use query::Query;\nfn front() {}"),
        ("src/join/answer.rs", "struct Answer;"),
        ("src/join/plan.rs", "fn f() { super::answer::g() }"),
        ("src/join/query.rs", "use super::plan::Plan;\npub struct Query;\nstruct Rows;"),
        ("src/bin/profiledb/print.rs", "use super::args::Args;"),
        ("README.md", ""),
        ("docs/FORMAT.md", ""),
    ];
    let others = around.iter().filter(|(other, _)| *other != path).map(|(path, text)| File::new(path, text));
    let files: Vec<File> = std::iter::once(File::new(path, text)).chain(others).collect();
    let spoken = check(&files[0], &Tree::new(&files));
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

    let line = |chars| format!("//{}", "-".repeat(chars - 2));
    assert_eq!(count("line-width", "src/a.rs", &line(LINE_CHARS_MAX)), 0);
    assert_eq!(count("line-width", "src/a.rs", &line(LINE_CHARS_MAX + 1)), 1);
}

#[test]
fn every_rule_has_been_seen_to_bite() {
    let sizes = ["file-size", "line-width"];
    for rule in RULES {
        let is_planted = PLANTED.iter().any(|(name, .., expected)| name == &rule.name && *expected > 0);
        assert!(is_planted || sizes.contains(&rule.name), "{} has no planted violation", rule.name);
    }
}

#[test]
fn code_is_told_from_comments_and_texts() {
    let text = r####"a('"') /* b /* c */ d */ e("f\"g", r#"h"i"#, br"j") k<'l>(r#m, b'\'', '\u{41}') // n"####;
    let file = File::new("src/a.rs", text);
    let code: String = file.tokens.iter().filter(|token| !token.is_literal).map(|token| token.text.as_str()).collect();
    assert_eq!(code, "a()e(,,)k<'l>(r#m,,)");
    assert_eq!(
        file.prose().split_whitespace().collect::<String>(),
        r####"'"'/*b/*c*/d*/"f\"g"r#"h"i"#br"j"b'\'''\u{41}'//n"####
    );
}
