//! Lists of names on the command line. A name with commas is written in double quotes, as in JSON.

use profiledb::Value;

use crate::failure::Failure;

/// The names of a flag, such as those of columns, which was split at every comma.
pub(crate) fn properties(flag: &str, pieces: &[String]) -> Result<Vec<String>, Failure> {
    whole(pieces, |text| text).iter().map(|text| property(text).map_err(|failure| failure.during(flag))).collect()
}

/// The names to group by of a list that was split at every comma: each as it was typed, maybe with a width.
pub(crate) fn grouped(pieces: &[String]) -> Vec<String> {
    whole(pieces, |text| text)
}

/// A name of a property, which may be in quotes.
pub(crate) fn property(text: &str) -> Result<String, Failure> {
    if !text.starts_with('"') {
        return Ok(text.to_owned());
    }
    let refused = || format!("a name in double quotes is one of JSON, as \"a,b\" value={text}");
    serde_json::from_str(text).map_err(|_| Failure::new(refused()))
}

/// The fields of a list that was split at every comma.
pub(crate) fn fields(pieces: &[String]) -> Vec<String> {
    whole(pieces, |text| {
        let (place, rest) = text.split_once(['.', ':']).unwrap_or((text, ""));
        let is_key = text.get(place.len()..).is_some_and(|rest| rest.starts_with(':'));
        match after_quotes(rest) {
            // The name of a property, or an unquoted key and a name.
            _ if !is_key => rest,
            None if rest.starts_with('"') => rest,
            Some(after) => after.strip_prefix('.').unwrap_or_default(),
            None => rest.split_once('.').map_or("", |(_, name)| name),
        }
    })
}

/// Joins the pieces of which a comma within quotes was the delimiter. `last` is the part of an item that may be in
/// quotes.
fn whole(pieces: &[String], last: impl Fn(&str) -> &str) -> Vec<String> {
    let is_open = |item: &str| {
        // bucket(FIELD, WIDTH) ends with its width.
        if item.trim_start().starts_with("bucket(") {
            let width = item.rsplit_once(',').and_then(|(_, width)| width.trim_end().strip_suffix(')'));
            return width.is_none_or(|width| width.trim().parse::<f64>().is_err());
        }
        let last = last(item.trim_start());
        last.starts_with('"') && after_quotes(last).is_none()
    };
    let mut items: Vec<String> = Vec::new();
    for piece in pieces {
        match items.last_mut().filter(|item| is_open(item)) {
            Some(item) => {
                item.push(',');
                item.push_str(piece);
            }
            None => items.push(piece.clone()),
        }
    }
    items
}

/// What follows a string in quotes at the start of a text, if there is one that ends.
fn after_quotes(text: &str) -> Option<&str> {
    let mut values = serde_json::Deserializer::from_str(text.strip_prefix('"').and(Some(text))?).into_iter::<Value>();
    values.next()?.ok()?;
    text.get(values.byte_offset()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn commas_in_quotes_are_part_of_a_name() {
        for (typed, expected) in [
            ("a,b", &["a", "b"][..]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#""a,,\"b\",",c"#, &[r#"a,,"b","#, "c"]),
            (r#"5" disk,x.y,"""#, &[r#"5" disk"#, "x.y", ""]),
        ] {
            assert_eq!(properties("--columns", &split(typed)).unwrap(), expected, "{typed}");
        }
        for wrong in [r#""a"#, r#""a,b"#, r#""a"b,c"#] {
            let said = properties("--columns", &split(wrong)).unwrap_err().to_string();
            assert!(said.starts_with("--columns: a name in double quotes"), "{said}");
        }
        for (typed, expected) in [
            ("event.a,user.b", &["event.a", "user.b"][..]),
            (r#"event."a,b",user.c"#, &[r#"event."a,b""#, "user.c"]),
            (r#" user."a,b,c" , group:k."d,e""#, &[r#" user."a,b,c" "#, r#" group:k."d,e""#]),
            (r#"group:"k,l.m"."d,e",user:"n.o".p"#, &[r#"group:"k,l.m"."d,e""#, r#"user:"n.o".p"#]),
            (r#"event.5" disk,event.x."y,user.z"#, &[r#"event.5" disk"#, r#"event.x."y"#, "user.z"]),
            ("x,,event", &["x", "", "event"]),
            (
                "bucket(user.age, 10),bucket( event.\"a,b\" ,0.5),user.x",
                &["bucket(user.age, 10)", "bucket( event.\"a,b\" ,0.5)", "user.x"],
            ),
            ("bucket(user.a),2),bucket(user.b", &["bucket(user.a),2)", "bucket(user.b"]),
        ] {
            assert_eq!(fields(&split(typed)), expected, "{typed}");
        }
    }
}
