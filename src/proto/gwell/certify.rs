//! Logging in to a P2P server: CertifyReq and CertifyResp (gwell reference §4.1, §4.2).
