//! Calling a camera: CALLING, its acknowledgement, and the resources for media (gwell reference §4.6, §4.7).
