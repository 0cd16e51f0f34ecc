//! Who may do what, as AWS IoT's policies say it, without their JSON.

/// Everything that is allowed. Nothing else is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub grants: Vec<Grant>,
    pub refusal: Refusal,
}

/// One statement of a policy, for whom it is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// A pattern of [`Principal`](super::Principal) names.
    pub principal: String,
    pub action: Action,
    /// A pattern of resources, as they stand behind the last colon of an ARN: `client/<id>`, `topicfilter/<filter>`,
    /// `topic/<topic>`.
    pub resource: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `iot:Connect` on `client/<id>`
    Connect,
    /// `iot:Subscribe` on `topicfilter/<filter>`; granted on a `topic/…` it is worth nothing.
    Subscribe,
    /// `iot:Publish` on `topic/<topic>`
    Publish,
    /// `iot:Receive` on `topic/<topic>`
    Receive,
}

/// How somebody is told that he may not connect or subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refusal {
    /// CONNACK 5, SUBACK 0x80.
    Told,
    /// The connection is closed, as AWS IoT does it mostly.
    #[default]
    Closed,
}

impl Action {
    const ALL: [Self; 4] = [Self::Connect, Self::Subscribe, Self::Publish, Self::Receive];

    fn resource(self, name: &str) -> String {
        let kind = match self {
            Self::Connect => "client",
            Self::Subscribe => "topicfilter",
            Self::Publish | Self::Receive => "topic",
        };
        format!("{kind}/{name}")
    }
}

impl Grant {
    pub fn new(principal: impl Into<String>, action: Action, resource: impl Into<String>) -> Self {
        Self { principal: principal.into(), action, resource: resource.into() }
    }
}

impl Policy {
    /// Everybody may do everything.
    pub fn open() -> Self {
        let grants = Action::ALL.map(|action| Grant::new("*", action, "*"));
        Self { grants: grants.into(), refusal: Refusal::default() }
    }

    /// Whether `principal` may do it to the client id, filter or topic `name`.
    pub fn allows(&self, principal: &str, action: Action, name: &str) -> bool {
        let resource = action.resource(name);
        self.grants.iter().any(|grant| {
            grant.action == action && matches(&grant.principal, principal) && matches(&grant.resource, &resource)
        })
    }
}

/// `*` stands for anything, `?` for one character. What is `+` or `#` in a filter stands for itself.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|c| *c == '?' || *c == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, t) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_in_aws_policies() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("client/door*", "client/doorstep", true),
            ("client/door*", "client/window", false),
            ("topic/*/ring", "topic/doorbell/a/ring", true),
            ("topic/*/ring", "topic/doorbell/a/rings", false),
            ("topicfilter/doorbell/+/ring", "topicfilter/doorbell/+/ring", true),
            ("topicfilter/doorbell/+/ring", "topicfilter/doorbell/a/ring", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*a", "banana", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} and {text}");
        }
    }

    /// Kvs reference §6, "policy traps".
    #[test]
    fn a_subscription_granted_on_a_topic_is_none() {
        let grants = ["topic/doorbell/*", "topicfilter/doorbell/*"];
        let allowed = grants.map(|resource| {
            let grants = vec![Grant::new("viewer", Action::Subscribe, resource)];
            Policy { grants, refusal: Refusal::Told }.allows("viewer", Action::Subscribe, "doorbell/a/ring")
        });
        assert_eq!(allowed, [false, true]);
    }
}
