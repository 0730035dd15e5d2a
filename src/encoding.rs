//! Texts for bytes, and bytes for texts.

use zeroize::Zeroizing;

/// Writes bytes in lower-case hexadecimal.
///
/// # Examples
/// ```
/// assert_eq!(leverframe::encoding::hex(&[0, 0xaf]), "00af");
/// ```
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 0xf]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes bytes in base64 (RFC 4648, section 4), padded.
///
/// # Examples
/// ```
/// assert_eq!(leverframe::encoding::base64(b"fo"), "Zm8=");
/// ```
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let whole =
            chunk.iter().fold(0_u32, |whole, byte| whole << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = whole >> (18 - 6 * place) & 0x3f;
            text.push(if place > chunk.len() { '=' } else { char::from(BASE64[digit as usize]) });
        }
    }
    text
}

/// Reads padded base64; `None` for anything else, so that one run of bytes has one text.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut bits = 0_u32;
    let digits = text.trim_end_matches('=');
    for (index, digit) in digits.bytes().enumerate() {
        let value = BASE64.iter().position(|d| *d == digit)?;
        bits = bits << 6 | value as u32;
        // Three bytes are whole after four digits; one and two after two and three.
        if index % 4 != 0 {
            bytes.push((bits >> (6 - 2 * (index % 4))) as u8);
        }
    }
    // What is decoded may be a secret.
    let again = Zeroizing::new(base64(&bytes));
    (*again == text).then_some(bytes)
}

/// Encodes everything but the unreserved characters of RFC 3986 as `%XX`.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Decodes `%xx`; `None` for escapes that are none, for what is not UTF-8, and for NUL.
///
/// # Examples
/// ```
/// use leverframe::encoding::percent_decoded;
/// assert_eq!(percent_decoded("a%20b").as_deref(), Some("a b"));
/// assert_eq!(percent_decoded("a%2"), None);
/// ```
#[must_use]
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        };
        // No path has it, escaped or not; where it ends a path, another file would be read.
        if byte == 0 {
            return None;
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_texts() {
        assert_eq!(hex(&[0, 0xaf]), "00af");
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        for bad in ["Zg", "Zg=", "Z===", "Zh==", "Zm9v\n", "Zm 9v", "=", "Zm9vYg==Zg=="] {
            assert_eq!(from_base64(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn percent_encoding_comes_back(text in "[^\\x00]{0,20}") {
            prop_assert_eq!(percent_decoded(&percent_encoded(&text)), Some(text));
        }

        #[test]
        fn base64_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(from_base64(&base64(&bytes)), Some(bytes));
        }
    }
}
