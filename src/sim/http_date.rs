//! Dates as HTTP and Java write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

struct Parts {
    weekday: &'static str,
    day: String,
    month: &'static str,
    year: String,
    time: String,
}

fn parts(unix_ms: u64) -> Parts {
    let at: SystemTime = UNIX_EPOCH + Duration::from_millis(unix_ms);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let piece = |from: usize, to: usize| text.get(from..to).unwrap_or("").to_owned();
    let month = piece(5, 7).parse::<usize>().ok().and_then(|number| MONTHS.get(number.wrapping_sub(1)));
    Parts {
        // The first day of Unix time was a Thursday.
        weekday: WEEKDAYS[(unix_ms / 86_400_000 % 7) as usize],
        day: piece(8, 10),
        month: month.copied().unwrap_or(""),
        year: piece(0, 4),
        time: piece(11, 19),
    }
}

/// `Sat, 12 Oct 2024 19:47:35 GMT` (RFC 9110 §5.6.7)
pub(super) fn http(unix_ms: u64) -> String {
    let Parts { weekday, day, month, year, time } = parts(unix_ms);
    format!("{weekday}, {day} {month} {year} {time} GMT")
}

/// `Sat Oct 12 19:50:31 GMT 2024`, as in `X-RateLimit-Reset-By` (§1).
pub(super) fn java(unix_ms: u64) -> String {
    let Parts { weekday, day, month, year, time } = parts(unix_ms);
    format!("{weekday} {month} {day} {time} GMT {year}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_look_as_they_were_captured() {
        assert_eq!(http(1_728_762_455_000), "Sat, 12 Oct 2024 19:47:35 GMT");
        assert_eq!(java(1_728_762_631_999), "Sat Oct 12 19:50:31 GMT 2024");
        assert_eq!(http(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
