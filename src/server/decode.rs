//! Decoding of request bodies, by content: several clients send forms and JSON under other content types, or none.
//!
//! ```text
//! inflate if compressed -> begins with { or [ : JSON
//!                       -> otherwise a form: its `data` is JSON, or base64 of JSON
//!                       -> otherwise the whole body may be base64 of JSON
//! ```

use std::io::Read;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::params::Params;
use super::refusal::Refusal;

/// The first bytes of every gzip stream, which begin no text.
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

/// How much is decompressed at a time, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Clients leave out the padding, and some encoders leave bits in the last character.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a request says.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Of the query, then of the body.
    pub(super) params: Params,
    /// The JSON text, empty if there is none, or what is wrong with it.
    pub(super) data: Result<Bytes, String>,
    /// Halves of characters that were replaced.
    pub(super) replaced: usize,
}

/// Decodes a request. The body is inflated already.
pub(super) fn decode(query: &str, headers: &HeaderMap, body: Bytes) -> Decoded {
    let mut params = Params::parse(query.as_bytes());
    if is_json(&body) {
        return Decoded { params, data: Ok(body), replaced: 0 };
    }
    params.extend(&body);
    let mut replaced = 0;
    let mut unwrap = |data: &[u8], params: &Params| unwrap(data, params.is_on("strict"), &mut replaced);
    let data = match params.take("data") {
        Some(data) => unwrap(&data, &params),
        // The parser says what is wrong with it.
        None if says_json(headers) => Ok(body),
        None if [&b"eyJ"[..], b"W3s", b"W10", b"e30"].iter().any(|start| body.trim_ascii().starts_with(start)) => {
            unwrap(&body, &params)
        }
        None => Ok(Bytes::new()),
    };
    Decoded { params, data, replaced }
}

/// Whether a body is compressed, in whatever way.
pub(super) fn is_compressed(headers: &HeaderMap, body: &[u8]) -> bool {
    let is_named = |value: &HeaderValue| !matches!(value.as_bytes().trim_ascii(), b"" | b"identity");
    body.starts_with(GZIP_MAGIC) || headers.get(header::CONTENT_ENCODING).is_some_and(is_named)
}

/// Inflates a body, up to `bytes_max` bytes, each of which `reserve` allows first.
pub(super) fn inflate(
    headers: &HeaderMap,
    body: Bytes,
    bytes_max: usize,
    reserve: impl FnMut(usize) -> Result<(), Refusal>,
) -> Result<Bytes, Refusal> {
    // Some clients send an empty header.
    let encoding =
        headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().trim_ascii().to_ascii_lowercase());
    match encoding.as_deref() {
        // Some proxies drop the header.
        None | Some(b"" | b"identity") if !body.starts_with(GZIP_MAGIC) => {
            if body.len() > bytes_max {
                Err(too_large(bytes_max))
            } else {
                Ok(body)
            }
        }
        None | Some(b"" | b"identity" | b"gzip" | b"x-gzip") => {
            read_all(MultiGzDecoder::new(&*body), bytes_max, reserve)
        }
        // By the standard it is in a zlib frame, and some clients leave that out.
        Some(b"deflate") if is_zlib(&body) => read_all(ZlibDecoder::new(&*body), bytes_max, reserve),
        Some(b"deflate") => read_all(DeflateDecoder::new(&*body), bytes_max, reserve),
        Some(other) => {
            let message = format!("a body is plain, gzip or deflate encoding={:?}", String::from_utf8_lossy(other));
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", message))
        }
    }
}

fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..] if first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0)
}

fn read_all(
    mut decoder: impl Read,
    bytes_max: usize,
    mut reserve: impl FnMut(usize) -> Result<(), Refusal>,
) -> Result<Bytes, Refusal> {
    let mut inflated = Vec::new();
    loop {
        reserve(CHUNK_BYTES)?;
        let read = decoder
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut inflated)
            .map_err(|error| Refusal::bad_request(format!("the body cannot be decompressed: {error}")))?;
        if inflated.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        if read == 0 {
            return Ok(inflated.into());
        }
    }
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::too_large(format!("request exceeds max limit of {bytes_max} bytes after decompression"))
}

/// Whether a text can only be JSON. A byte order mark may be in front of it.
pub(super) fn is_json(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn says_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
    content_type.is_some_and(|value| value.windows(4).any(|part| part == b"json"))
}

/// The JSON of `data`, which may be in base64: with the URL alphabet, without padding, or with `+` turned into a space
/// because it was not escaped.
fn unwrap(data: &[u8], strict: bool, replaced: &mut usize) -> Result<Bytes, String> {
    let data = data.trim_ascii();
    if data.is_empty() || is_json(data) {
        return Ok(Bytes::copy_from_slice(data));
    }
    let to_standard = |byte: &u8| match byte {
        b'\r' | b'\n' | b'=' => None,
        b' ' | b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        other => Some(*other),
    };
    let text: Vec<u8> = data.iter().filter_map(to_standard).collect();
    let decoded = BASE64.decode(text).map_err(|_| "data is neither json nor base64 of json".to_owned())?;
    Ok(utf8_of(decoded, strict, replaced).into())
}

/// Texts in base64 from the browser library are in CESU-8: it encodes each half of a surrogate pair on its own. This is
/// the same text in UTF-8. A half without the other, where the library has cut a text, is replaced, or left as it is
/// under strict rules.
fn utf8_of(text: Vec<u8>, strict: bool, replaced: &mut usize) -> Vec<u8> {
    if std::str::from_utf8(&text).is_ok() {
        return text;
    }
    let mut utf8 = Vec::with_capacity(text.len());
    let mut rest = &*text;
    loop {
        let (character, after) = match rest {
            [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d @ 0x80..=0xbf, after @ ..] => {
                let half = |high: u8, low: u8| u32::from(high & 0x0f) << 6 | u32::from(low & 0x3f);
                (char::from_u32(0x1_0000 + (half(*a, *b) << 10 | half(*c, *d))), after)
            }
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] if !strict => {
                *replaced += 1;
                (Some(char::REPLACEMENT_CHARACTER), after)
            }
            [byte, after @ ..] => {
                utf8.push(*byte);
                (None, after)
            }
            [] => return utf8,
        };
        if let Some(character) = character {
            utf8.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn data(query: &str, body: &str) -> String {
        let data = decode(query, &HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes())).data;
        data.map_or_else(|error| error, |data| String::from_utf8(data.to_vec()).unwrap())
    }

    #[test]
    fn the_text_decides_not_the_content_type() {
        let json = r#"[{"a":"??>>~~"}]"#;
        let base64 = "W3siYSI6Ij8/Pj5+fiJ9XQ==";
        for (query, body) in [
            ("", json.to_owned()),
            ("", format!("data={json}")),
            ("verbose=1", format!("verbose=0&data={}", json.replace('"', "%22"))),
            ("", format!("data={base64}")),
            ("", format!("data={}&ip=0", base64.replace('+', " "))),
            ("", format!("data={}", base64.replace('/', "_").replace('+', "-").trim_end_matches('='))),
            ("", base64.to_owned()),
            (&format!("data={base64}"), String::new()),
            (&format!("data={base64}"), "ip=1".to_owned()),
        ] {
            assert_eq!(data(query, &body), json, "{query} {body}");
        }
        assert_eq!(data("", "hello"), "");
        assert_eq!(data("", "data="), "");
        assert_eq!(data("", "data=%%%"), "data is neither json nor base64 of json");
        // Not valid in UTF-8: the parser of records refuses it, and it is not replaced.
        let body = Bytes::from_static(b"data=%7B%22a%22%3A%22%ff%22%7D");
        assert_eq!(&*decode("", &HeaderMap::new(), body).data.unwrap(), b"{\"a\":\"\xff\"}");
    }

    #[test]
    fn halves_of_characters_become_characters() {
        let read = |units: &[u16], strict: bool| {
            let low = |unit: u16| unit.to_le_bytes()[0];
            let cesu = units.iter().flat_map(|unit| match *unit {
                0..0x80 => vec![low(*unit)],
                0x80..0x800 => vec![low(unit >> 6) | 0xc0, low(unit & 0x3f) | 0x80],
                _ => vec![low(unit >> 12) | 0xe0, low(unit >> 6 & 0x3f) | 0x80, low(unit & 0x3f) | 0x80],
            });
            let mut replaced = 0;
            (utf8_of(cesu.collect(), strict, &mut replaced), replaced)
        };
        for c in ('\0'..char::MAX).step_by(7).chain(['\u{d7ff}', '\u{e000}', '\u{ffff}', '\u{10000}', char::MAX]) {
            let text = format!("a{c}{c}\u{e9}");
            let units: Vec<u16> = text.encode_utf16().collect();
            assert_eq!(read(&units, true), (text.into_bytes(), 0));
        }
        let cut = [0x61, 0xd83d, 0x62, 0xde00, 0xd83d, 0xd83d, 0xde00];
        assert_eq!(read(&cut, false), (String::from_utf16_lossy(&cut).into_bytes(), 3));
        assert!(std::str::from_utf8(&read(&cut, true).0).is_err());
        // Anything else that is no UTF-8 is left to be refused.
        for bytes in [&b"\xff"[..], b"\xed", b"\xed\xa0", b"\xed\xa0\x41", b"\xc0\x80", b"\xf8"] {
            assert_eq!(utf8_of(bytes.to_vec(), false, &mut 0), bytes);
        }
    }

    #[test]
    fn bodies_are_inflated_up_to_a_limit() {
        let plain = vec![b'x'; 1_000];
        let mut encoders = (
            GzEncoder::new(Vec::new(), Compression::fast()),
            ZlibEncoder::new(Vec::new(), Compression::fast()),
            DeflateEncoder::new(Vec::new(), Compression::fast()),
        );
        encoders.0.write_all(&plain).unwrap();
        encoders.1.write_all(&plain).unwrap();
        encoders.2.write_all(&plain).unwrap();
        let gzip = encoders.0.finish().unwrap();
        let bodies = [
            ("gzip", gzip.clone()),
            ("", gzip),
            ("deflate", encoders.1.finish().unwrap()),
            ("Deflate ", encoders.2.finish().unwrap()),
            ("", plain.clone()),
        ];
        let inflate = |encoding: &str, body: &[u8], bytes_max| {
            let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, encoding.parse().unwrap())]);
            inflate(&headers, Bytes::copy_from_slice(body), bytes_max, |_| Ok(()))
        };
        let status = |inflated: Result<Bytes, Refusal>| inflated.unwrap_err().status.as_u16();
        for (encoding, body) in &bodies {
            assert_eq!(inflate(encoding, body, 1_000).unwrap(), plain, "{encoding}");
            assert_eq!(status(inflate(encoding, body, 999)), 413, "{encoding}");
        }
        for (encoding, body) in &bodies[..4] {
            assert_eq!(status(inflate(encoding, &body[..body.len() - 5], 1_000)), 400, "{encoding}");
        }
        assert_eq!(status(inflate("br", &plain, 1_000)), 415);
    }
}
