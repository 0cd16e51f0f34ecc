//! MTP, the datagrams between a terminal and a camera or a relay (gwell reference §5).
