//! KCP, two conversations a call, behind a trait of our own (gwell reference §7).
