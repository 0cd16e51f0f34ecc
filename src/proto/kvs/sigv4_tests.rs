use super::*;

#[test]
fn a_time_is_written_and_read() {
    for (unix_s, text) in [
        (0, "19700101T000000Z"),
        (1_735_689_600, "20250101T000000Z"),
        (1_709_251_199, "20240229T235959Z"),
        (253_402_300_799, "99991231T235959Z"),
    ] {
        assert_eq!(amz_date(unix_s), text);
        assert_eq!(unix_seconds(text), Some(unix_s));
    }
    assert_eq!(amz_date(u64::MAX), "99991231T235959Z");
    for text in ["", "20250101T000000", "20250101 000000Z", "20251301T000000Z", "20250230T000000Z", "2025-101T000000Z"]
    {
        assert_eq!(unix_seconds(text), None, "{text}");
    }
}
