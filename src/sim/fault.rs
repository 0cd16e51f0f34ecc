//! What virtual devices can be told to do wrong, by names that users write.

use std::str::FromStr;

/// Declares the faults of one kind of virtual device, each with its name.
macro_rules! faults {
    ($(#[$about:meta])* pub enum Fault { $($(#[$what:meta])* $fault:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Fault {
            $($(#[$what])* $fault,)+
        }

        impl Fault {
            pub const ALL: &'static [Self] = &[$(Self::$fault),+];

            /// As users write it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)+
                }
            }
        }

        impl std::fmt::Display for Fault {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for Fault {
            type Err = $crate::sim::fault::UnknownFault;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().copied().find(|fault| fault.name() == name);
                found.ok_or_else(|| Self::Err::new(name, Self::ALL))
            }
        }
    };
}

pub(super) use faults;

/// A fault's name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no fault is called `{name}`; there are {known}")]
pub struct UnknownFault {
    name: String,
    known: String,
}

impl UnknownFault {
    pub(super) fn new(name: &str, all: &[impl ToString]) -> Self {
        let known: Vec<String> = all.iter().map(|fault| format!("`{}`", fault.to_string())).collect();
        Self { name: name.to_owned(), known: known.join(", ") }
    }
}

/// A cloud's fault and where it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble<Fault> {
    pub fault: Fault,
    /// Only in answers to paths that begin so; empty for all of them. Of no matter for what is no answer.
    pub at: String,
}

impl<Fault> From<Fault> for Trouble<Fault> {
    fn from(fault: Fault) -> Self {
        Self { fault, at: String::new() }
    }
}

/// `NAME` or `NAME /path`.
impl<Fault: FromStr> FromStr for Trouble<Fault> {
    type Err = Fault::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, at) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Self { fault: name.parse()?, at: at.trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};

    use super::*;
    use crate::sim::{aws, iot, kvs_camera, kvs_doorbell, rtsp, tutk_camera, vivint, wyze_cloud};

    fn are_found<F: FromStr<Err = UnknownFault> + Display + Debug + PartialEq>(all: &[F]) {
        for fault in all {
            assert_eq!(fault.to_string().parse().as_ref(), Ok(fault));
        }
        let error = "quiet".parse::<F>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("no fault is called `quiet`; there are `{}`, `", all[0])), "{error}");
    }

    #[test]
    fn every_fault_is_found_by_its_name_and_no_other() {
        are_found(aws::Fault::ALL);
        are_found(iot::Fault::ALL);
        are_found(kvs_camera::Fault::ALL);
        are_found(kvs_doorbell::Fault::ALL);
        are_found(rtsp::Fault::ALL);
        are_found(tutk_camera::Fault::ALL);
        are_found(vivint::Fault::ALL);
        are_found(vivint::doorbell::Fault::ALL);
        are_found(wyze_cloud::Fault::ALL);
    }

    #[test]
    fn a_cloud_s_fault_may_name_a_path() {
        use wyze_cloud::{Fault, Trouble};
        let trouble = |at: &str| Trouble { fault: Fault::ServerError, at: at.to_owned() };
        assert_eq!("500".parse(), Ok(trouble("")));
        assert_eq!("500 /app/v2/".parse(), Ok(trouble("/app/v2/")));
        assert!("501 /app/v2/".parse::<Trouble>().is_err());
    }
}
