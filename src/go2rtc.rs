//! go2rtc as a companion: every stream is registered there and stays registered (docs/interfaces.md §2).
