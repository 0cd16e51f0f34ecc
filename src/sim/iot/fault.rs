//! What a virtual AWS IoT can be told to do wrong.

use crate::sim::fault::faults;

faults! {
    /// One way of misbehaving. A broker has at most one at a time.
    pub enum Fault {
        /// CONNACK 5 for everybody.
        RefuseConnect = "refuse-connect",
        /// The connection is closed in place of a CONNACK.
        CloseAfterConnect = "close-after-connect",
        /// The connection is closed right behind the CONNACK.
        CloseAfterConnack = "close-after-connack",
        /// SUBACK 0x80 for every filter.
        RefuseSubscribe = "refuse-subscribe",
        /// The connection is closed in place of a SUBACK.
        CloseAfterSubscribe = "close-after-subscribe",
        /// What is delivered with QoS 1 comes twice, the second time marked so.
        DuplicateDelivery = "duplicate-delivery",
        /// What is published with QoS 1 is passed on and not acknowledged.
        DropPuback = "drop-puback",
        /// Nothing is read or answered, on connections that there are and on new ones.
        Silent = "silent",
    }
}
