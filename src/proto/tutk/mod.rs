//! ThroughTek's IOTC/AV protocol as Wyze cameras speak it (docs/protocol/tutk.md).
