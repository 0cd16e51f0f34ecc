//! Topics and the filters that match them, within AWS IoT's limits.

/// Of a topic or filter.
const LONGEST: usize = 256;
const SLASHES: usize = 7;

fn fits(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && name.matches('/').count() <= SLASHES && !name.contains('\0')
}

/// Whether it can be published to.
pub(super) fn is_topic(name: &str) -> bool {
    fits(name) && !name.contains(['+', '#'])
}

/// Whether it can be subscribed to: wildcards take whole levels, `#` the last.
pub(super) fn is_filter(name: &str) -> bool {
    let levels: Vec<&str> = name.split('/').collect();
    let in_place = levels.iter().enumerate().all(|(at, level)| match *level {
        "#" => at + 1 == levels.len(),
        "+" => true,
        other => !other.contains(['+', '#']),
    });
    fits(name) && in_place
}

/// Whether the filter hears the topic. Topics that begin with `$` are not heard by wildcards in their place.
pub(super) fn hears(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (name, Some(own)) if name == own => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_hears_what_the_standard_says() {
        for (filter, topic, expected) in [
            ("doorbell/+/ring", "doorbell/front/ring", true),
            ("doorbell/+/ring", "doorbell/ring", false),
            ("doorbell/+/ring", "doorbell/front/back/ring", false),
            ("doorbell/#", "doorbell/front/ring", true),
            ("doorbell/#", "doorbell", true),
            ("#", "a/b", true),
            ("+", "a/b", false),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("+", "/a", false),
            ("#", "$aws/events", false),
            ("+/events", "$aws/events", false),
            ("$aws/#", "$aws/events", true),
            ("a", "A", false),
        ] {
            assert_eq!(hears(filter, topic), expected, "{filter} and {topic}");
        }
    }

    #[test]
    fn what_aws_iot_takes_for_a_topic_or_a_filter() {
        let long = "a".repeat(257);
        for (name, topic, filter) in [
            ("doorbell/front/ring", true, true),
            ("doorbell/+/ring", false, true),
            ("doorbell/#", false, true),
            ("doorbell/#/ring", false, false),
            ("door+/ring", false, false),
            ("1/2/3/4/5/6/7/8", true, true),
            ("1/2/3/4/5/6/7/8/9", false, false),
            ("", false, false),
            ("a\0b", false, false),
            (&long, false, false),
        ] {
            assert_eq!((is_topic(name), is_filter(name)), (topic, filter), "{name:?}");
        }
    }
}
