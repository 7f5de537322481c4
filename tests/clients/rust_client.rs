//! Sends with mixpanel-rs: every verb of people and groups, and events. `run.py` makes a package of it, outside of the
//! workspace.

use std::collections::HashMap;

use mixpanel_rs::{Config, Event, Mixpanel, Modifiers};
use serde_json::{Value, json};

fn map<const N: usize>(entries: [(&str, Value); N]) -> HashMap<String, Value> {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).expect("the address of the server");
    let host = url.strip_prefix("http://").expect("plain http").to_owned();
    for verbose in [false, true] {
        let config =
            Config { host: host.clone(), protocol: "http".into(), verbose, max_retries: 0, ..Config::default() };
        let mp = Mixpanel::init("token", Some(config));
        let user = if verbose { "rust-verbose" } else { "rust-quiet" };
        let gone = format!("{user}-deleted");
        let people = &mp.people;
        people.set(user, map([("plan", json!("free")), ("unicode", json!("é漢😀+/="))]), None).await?;
        let modifiers = Modifiers { ip: Some("0".into()), ignore_time: Some(true), ..Modifiers::default() };
        people.set(user, map([("plan", json!("pro"))]), Some(modifiers)).await?;
        people.set_once(user, map([("plan", json!("never")), ("first", json!(1))]), None).await?;
        people.increment(user, HashMap::from([("logins".to_owned(), 3)]), None).await?;
        people.increment(user, HashMap::from([("logins".to_owned(), -1)]), None).await?;
        people.append(user, map([("list", json!("a"))]), None).await?;
        people.append(user, map([("list", json!("b"))]), None).await?;
        people.union(user, map([("list", json!(["b", "c"]))]), None).await?;
        people.remove(user, map([("list", json!("a"))]), None).await?;
        people.set(user, map([("gone", json!(1))]), None).await?;
        people.unset(user, vec!["gone".into()], None).await?;
        people.track_charge(user, 25.0, None, None).await?;
        people.clear_charges(user, None).await?;
        people.set(&*gone, map([("x", json!(1))]), None).await?;
        people.delete_user(&*gone, None).await?;
        let groups = &mp.groups;
        let set = map([("tier", json!("silver")), ("features", json!(["a"])), ("color", json!("red"))]);
        groups.set("company", user, set, None).await?;
        groups.set_once("company", user, map([("tier", json!("never"))]), None).await?;
        groups.union("company", user, map([("features", json!(["b", "a"]))]), None).await?;
        groups.remove("company", user, map([("features", json!("a"))]), None).await?;
        groups.unset("company", user, vec!["color".into()], None).await?;
        groups.set("company", &*gone, map([("x", json!(1))]), None).await?;
        groups.delete_group("company", &*gone, None).await?;
        mp.track("visit", Some(map([("distinct_id", json!(user)), ("page", json!("/"))]))).await?;
        let event = |n: u32| Event {
            event: "batched".into(),
            properties: map([("distinct_id", json!(user)), ("n", json!(n))]),
        };
        mp.track_batch((0..60).map(event).collect()).await?;
    }
    Ok(())
}
