//! Reads and writes that cannot panic: outside the slice a read gives zero and a write does nothing.
//!
//! Views check their length once in the constructor; these functions make that check a matter of correctness only,
//! never of safety (a setter may have changed a length field since, and `B` may be any `AsRef`).

#[inline]
pub(crate) fn u8_at(data: &[u8], at: usize) -> u8 {
    data.get(at).copied().unwrap_or(0)
}

#[inline]
pub(crate) fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array_at(data, at))
}

#[inline]
pub(crate) fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(data, at))
}

#[inline]
pub(crate) fn array_at<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    data.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

#[inline]
pub(crate) fn put_u8(data: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = data.get_mut(at) {
        *byte = value;
    }
}

#[inline]
pub(crate) fn put_u16(data: &mut [u8], at: usize, value: u16) {
    put_array(data, at, value.to_be_bytes());
}

#[inline]
pub(crate) fn put_u32(data: &mut [u8], at: usize, value: u32) {
    put_array(data, at, value.to_be_bytes());
}

#[inline]
pub(crate) fn put_array<const N: usize>(data: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = data.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *place = value;
    }
}

/// The bytes from `start` up to `end`, as many as there are.
#[inline]
pub(crate) fn range(data: &[u8], start: usize, end: usize) -> &[u8] {
    data.get(start..end.min(data.len())).unwrap_or(&[])
}

/// As [`range`], for writing.
#[inline]
pub(crate) fn range_mut(data: &mut [u8], start: usize, end: usize) -> &mut [u8] {
    let end = end.min(data.len());
    data.get_mut(start..end).unwrap_or_default()
}

/// The bytes from `start` on.
#[inline]
pub(crate) fn tail(data: &[u8], start: usize) -> &[u8] {
    data.get(start..).unwrap_or(&[])
}

/// As [`tail`], for writing.
#[inline]
pub(crate) fn tail_mut(data: &mut [u8], start: usize) -> &mut [u8] {
    data.get_mut(start..).unwrap_or_default()
}
