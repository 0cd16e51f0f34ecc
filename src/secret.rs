//! Secrets as types: they print only their name and cannot be serialised, so that a struct which
//! holds one may derive `Debug` and cannot derive `Serialize`.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            pub fn new(value: impl Into<String>) -> Self {
                Self(SecretString::from(value.into()))
            }

            /// The value itself, for the one line that sends or computes with it.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(***)"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::new)
            }
        }
    };
}

secret!(
    /// A password for a cloud account, an MQTT broker or another service.
    Password
);
secret!(
    /// A bearer token, ours or a cloud's.
    Token
);
secret!(
    /// A Wyze camera's TUTK secret (`enr`, 16 or more characters), from which its DTLS key is derived.
    Enr
);
secret!(
    /// An e-mail address: whom an account belongs to is nobody's business.
    Email
);
secret!(
    /// An address that whoever knows it may use, such as a presigned one.
    SignedUrl
);

/// A certificate or a private key in PEM, in a file or as it stands.
#[derive(Clone)]
pub enum Pem {
    File(PathBuf),
    Text(Password),
}

impl Pem {
    /// A text that has the mark of PEM in it, and a path otherwise.
    pub fn new(value: &str) -> Self {
        if value.contains("-----BEGIN ") { Self::Text(Password::new(value)) } else { Self::File(value.into()) }
    }
}

/// Shows where it is and never what it is.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "Pem({})", path.display()),
            Self::Text(_) => f.write_str("Pem(***)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_name_and_not_the_value() {
        assert_eq!(format!("{:?}", Enr::new("aKzdqckqZ8HUHFe5")), "Enr(***)");
        assert_eq!(format!("{:?}", Some(Password::new("hunter2"))), "Some(Password(***))");
    }
}
