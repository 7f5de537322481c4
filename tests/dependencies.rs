//! What `deny.toml` says about licenses, registries and versions, checked with what cargo itself knows, since
//! cargo-deny may not be installed. Advisories need its database: `.ci/run` says so when they go unchecked.

use std::process::Command;

use serde_json::Value;

/// The strings of `key = [..]` in deny.toml.
fn allowed(key: &str) -> Vec<String> {
    let text = include_str!("../deny.toml");
    let list = text.split_once(&format!("\n{key} = [")).unwrap().1.split_once(']').unwrap().0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every package that any feature can bring onto this platform, ours included.
fn packages() -> Vec<Value> {
    let version = Command::new(env!("CARGO")).arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--all-features", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether an SPDX expression can be satisfied with these licenses. `/` is the old way to write `OR`.
fn is_satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "-WITH-");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    let is_satisfied = alternatives(&mut rest, allowed);
    assert!(rest.is_empty(), "{expression}: not read: {rest:?}");
    is_satisfied
}

fn alternatives(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut is_satisfied = all_of(rest, allowed);
    while let ["OR", after @ ..] = *rest {
        *rest = after;
        is_satisfied |= all_of(rest, allowed);
    }
    is_satisfied
}

fn all_of(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut is_satisfied = license(rest, allowed);
    while let ["AND", after @ ..] = *rest {
        *rest = after;
        is_satisfied &= license(rest, allowed);
    }
    is_satisfied
}

fn license(rest: &mut &[&str], allowed: &[String]) -> bool {
    let (first, after) = rest.split_first().unwrap();
    *rest = after;
    if *first != "(" {
        return allowed.iter().any(|license| license == first);
    }
    let is_satisfied = alternatives(rest, allowed);
    *rest = rest.strip_prefix(&[")"]).unwrap();
    is_satisfied
}

#[test]
fn expressions_of_licenses_are_read() {
    let allowed = ["MIT", "ISC", "Zlib"].map(str::to_owned);
    for yes in ["MIT", "GPL-2.0-only OR MIT", "X/MIT", "MIT AND ISC", "(X OR ISC) AND MIT", "X AND Y OR Zlib"] {
        assert!(is_satisfied(yes, &allowed), "{yes}");
    }
    for no in ["GPL-2.0-only", "MIT AND X", "MIT WITH X", "(X OR Y) AND MIT", "X/Y", "MIT-0"] {
        assert!(!is_satisfied(no, &allowed), "{no}");
    }
}

#[test]
fn every_dependency_has_an_allowed_license_and_comes_from_an_allowed_registry() {
    let (licenses, registries) = (allowed("allow"), allowed("allow-registry"));
    let mut findings = Vec::new();
    for package in packages().iter().filter(|package| package["name"] != env!("CARGO_PKG_NAME")) {
        let name = format!("{} {}", package["name"], package["version"]);
        match package["license"].as_str() {
            Some(license) if is_satisfied(license, &licenses) => {}
            other => findings.push(format!("{name}: license {other:?}")),
        }
        let source = package["source"].as_str().unwrap_or("a path").trim_start_matches("registry+");
        if !registries.iter().any(|registry| registry == source) {
            findings.push(format!("{name}: comes from {source}"));
        }
    }
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn dependencies_say_which_version() {
    let packages = packages();
    let ours = packages.iter().find(|package| package["name"] == env!("CARGO_PKG_NAME")).unwrap();
    for dependency in ours["dependencies"].as_array().unwrap() {
        assert_ne!(dependency["req"], "*", "{}", dependency["name"]);
    }
}
