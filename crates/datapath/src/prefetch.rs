//! Asking the processor for memory ahead of its use.

use hairpin_engine::ahead::Prefetch;

/// What asks for a cache line here; None on processors of which that is not known.
pub const fn line() -> Option<Prefetch> {
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) { Some(ask) } else { None }
}

fn ask(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction. It changes nothing, and no address is wrong for it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    /// No address is wrong, and nothing changes.
    #[test]
    fn any_address_may_be_asked_for() {
        let Some(ask) = super::line() else { return };
        let there = [7u8; 64];
        ask(there.as_ptr());
        ask(std::ptr::null());
        ask(std::ptr::without_provenance(usize::MAX));
        assert_eq!(there, [7; 64]);
    }
}
