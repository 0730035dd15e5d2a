//! What AWS answers to the question who somebody is.

use serde_json::{Map, Value, json};

/// Bytes of the answer.
pub(super) const LARGEST: u64 = 64 * 1_024;
const LONGEST_ARN: usize = 2_048;

/// Returns what the answer says, as claims: account, ARN and the id of the user.
pub(super) fn claims_in(answer: &[u8]) -> Result<Map<String, Value>, &'static str> {
    let answer = std::str::from_utf8(answer).map_err(|_| "AWS's answer is no text")?;
    let account = text_of(answer, "Account").ok_or("AWS's answer names no account")?;
    let arn = text_of(answer, "Arn").ok_or("AWS's answer names nobody")?;
    let user = text_of(answer, "UserId").unwrap_or_default();
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return Err("AWS's answer names no account");
    }
    // `arn:aws:sts::123456789012:assumed-role/name/session`
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let whole =
        matches!(parts[..], ["arn", _, "sts" | "iam", _, of, what] if of == account && !what.is_empty());
    if !whole || arn.len() > LONGEST_ARN {
        return Err("AWS's answer names nobody of the account");
    }
    let Value::Object(claims) =
        json!({ "aud": account, "sub": arn, "account": account, "arn": arn, "user_id": user })
    else {
        return Err("AWS's answer cannot be kept");
    };
    Ok(claims)
}

/// Returns the text of the only element of that name.
fn text_of<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (_, rest) = answer.split_once(&open)?;
    let (text, rest) = rest.split_once(&close)?;
    // Neither markup nor anything that stands for it is in a name.
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"<>&\"'".contains(&b));
    (plain && !rest.contains(&open)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n\
        <GetCallerIdentityResult>\n<Arn>arn:aws:sts::123456789012:assumed-role/billing/i-0abc</Arn>\n\
        <UserId>AROAEXAMPLE:i-0abc</UserId>\n<Account>123456789012</Account>\n</GetCallerIdentityResult>\n\
        </GetCallerIdentityResponse>";

    #[test]
    fn an_answer_names_account_and_arn() {
        let claims = claims_in(ANSWER.as_bytes()).unwrap();

        assert_eq!(claims["aud"], "123456789012");
        assert_eq!(claims["sub"], "arn:aws:sts::123456789012:assumed-role/billing/i-0abc");
        assert_eq!(claims["user_id"], "AROAEXAMPLE:i-0abc");
    }

    #[test]
    fn an_answer_that_is_not_of_its_form_names_nobody() {
        let arn = "<Arn>arn:aws:sts::123456789012:assumed-role/other/x</Arn>";
        for (from, to) in [
            ("<Account>123456789012</Account>", ""),
            ("<Account>123456789012</Account>", "<Account>12345678901</Account>"),
            ("<Account>123456789012</Account>", "<Account>210987654321</Account>"),
            ("<Arn>", "<Arn><![CDATA["),
            ("<Arn>", "<Arn>&#97;"),
            ("arn:aws:sts::123456789012", "arn:aws:sts::210987654321"),
            ("arn:aws:sts::123456789012:assumed-role/billing/i-0abc", "arn:aws:s3:::123456789012"),
            ("arn:aws:sts::123456789012:assumed-role/billing/i-0abc", ""),
            ("</Arn>", &format!("</Arn>{arn}")),
            ("</Arn>", ""),
        ] {
            assert!(ANSWER.contains(from));
            assert!(claims_in(ANSWER.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
        assert!(claims_in(b"").is_err() && claims_in(&[0xff]).is_err());
    }
}
