//! Security Token Service: the only one asked here that answers in XML (kvs reference §8).

/// Longer answers are not looked at; one has some 2000 bytes.
const LONGEST: usize = 64 << 10;

/// The form that asks for `role_arn`.
pub(super) fn assume_role(role_arn: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("Action", "AssumeRole")
        .append_pair("Version", "2011-06-15")
        .append_pair("RoleArn", role_arn)
        .append_pair("RoleSessionName", "doorstep")
        .finish()
}

/// What `AssumeRole` gives.
pub struct Assumed<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub session_token: &'a str,
    /// `2025-01-01T01:00:00Z`
    pub expiration: &'a str,
}

impl<'a> Assumed<'a> {
    /// `None` when one of the four is missing, doubled, empty, or written as nothing is that these can hold.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let credentials = element(text(body)?, "Credentials")?;
        let leaf = |name| leaf(credentials, name).filter(|text| !text.is_empty());
        Some(Self {
            access_key_id: leaf("AccessKeyId")?,
            secret_access_key: leaf("SecretAccessKey")?,
            session_token: leaf("SessionToken")?,
            expiration: leaf("Expiration")?,
        })
    }
}

/// Code and message of a refusal. Entities in the message stay as they are: nobody is shown it.
pub fn error_of(body: &[u8]) -> Option<(&str, &str)> {
    let error = element(text(body)?, "Error")?;
    Some((element(error, "Code")?, element(error, "Message").unwrap_or_default()))
}

/// XML in which an element's name can only be a tag: without comments, CDATA and a document type.
fn text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= LONGEST)?;
    (!text.contains("<!")).then_some(text)
}

/// What is in the only element of this name, which has no attributes.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let (_, behind) = xml.split_once(&begin)?;
    let (inside, rest) = behind.split_once(&end)?;
    (!inside.contains(&begin) && !rest.contains(&begin)).then_some(inside)
}

/// A text without tags and entities: keys, tokens and times need none.
fn leaf<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    element(xml, name).map(str::trim).filter(|text| !text.contains(['<', '>', '&']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser><AssumedRoleId>AROA:doorstep</AssumedRoleId><Arn>arn:aws:sts::1:x</Arn></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>
      <SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY</SecretAccessKey>
      <SessionToken>IQoJb3JpZ2lu+/==</SessionToken>
      <Expiration>2025-01-01T01:00:00Z</Expiration>
    </Credentials>
  </AssumeRoleResult>
</AssumeRoleResponse>"#;

    #[test]
    fn the_four_elements_are_read() {
        let read = Assumed::read(ANSWER.as_bytes()).unwrap();
        assert_eq!(read.access_key_id, "ASIAIOSFODNN7EXAMPLE");
        assert_eq!(read.secret_access_key, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        assert_eq!(read.session_token, "IQoJb3JpZ2lu+/==");
        assert_eq!(read.expiration, "2025-01-01T01:00:00Z");
    }

    #[test]
    fn what_is_not_quite_that_is_refused() {
        let spoilt = [
            ANSWER.replace("<SessionToken>", "<SessionToken/>"),
            ANSWER.replace("<SessionToken>IQoJb3JpZ2lu+/==", "<SessionToken>"),
            ANSWER.replace("IQoJ", "<b>IQoJ</b>"),
            ANSWER.replace("IQoJ", "&lt;"),
            ANSWER.replace("<Expiration>", "<!-- <Expiration>"),
            ANSWER.replace("<Expiration>", "<Expiration>x</Expiration><Expiration>"),
            ANSWER.replace("Credentials", "Credential"),
            format!("{ANSWER}{ANSWER}"),
            format!("{ANSWER}{}", " ".repeat(LONGEST)),
            String::new(),
        ];
        for xml in spoilt {
            assert!(Assumed::read(xml.as_bytes()).is_none(), "{xml}");
        }
        for cut in 0..ANSWER.len() - "</Credentials>\n  </AssumeRoleResult>\n</AssumeRoleResponse>".len() {
            assert!(Assumed::read(&ANSWER.as_bytes()[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn a_refusal_has_a_code_and_perhaps_a_message() {
        let error = b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no &amp; no</Message></Error></ErrorResponse>";
        assert_eq!(error_of(error), Some(("AccessDenied", "no &amp; no")));
        assert_eq!(error_of(b"<Error><Code>X</Code></Error>"), Some(("X", "")));
        assert_eq!(error_of(b"<html>"), None);
    }
}
