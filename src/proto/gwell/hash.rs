//! The hashes of GWell (gwell reference §1.3, §1.4).

/// By which a P2P server knows that it has read the random number of a CertifyReq.
pub fn giot_hash(data: &[u8]) -> u32 {
    data.iter().fold(0x4E67_C6A7, |hash: u32, &byte| {
        hash ^ u32::from(byte).wrapping_add(hash.wrapping_mul(32)).wrapping_add(hash >> 2)
    })
}

/// The AES-128 key that a nonce stands for: four hashes of it.
pub fn nonce_key(nonce: &[u8]) -> [u8; 16] {
    let hashes = [powers(nonce, 0, 131), giot_hash(nonce), powers(nonce, 5381, 33), powers(nonce, 0, 65_599)];
    let mut key = [0; 16];
    for (place, hash) in key.chunks_exact_mut(4).zip(hashes) {
        place.copy_from_slice(&hash.to_le_bytes());
    }
    key
}

fn powers(data: &[u8], start: u32, factor: u32) -> u32 {
    data.iter().fold(start, |hash, &byte| hash.wrapping_mul(factor).wrapping_add(u32::from(byte)))
}
